"""Service Quotas, of which moto has none for EC2 and Lightsail.

Owns a new account's limits for what a module could run into. Refuses other
quotas; and none of these is enforced: a test makes the error itself.
"""

import json

from .wire import Answer, Call, Refused

# Service: code: name, value.
QUOTAS = {
    "ec2": {
        "L-1216C47A": ("Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", 5.0),
        "L-0263D0A3": ("EC2-VPC Elastic IPs", 5.0),
    },
    "lightsail": {
        "L-4259AF9B": ("Instances", 20.0),
        "L-BBF0F260": ("Static IP addresses", 5.0),
    },
}
SERVICES = {
    "ec2": "Amazon Elastic Compute Cloud (Amazon EC2)",
    "lightsail": "Amazon Lightsail",
}


def answer(call: Call) -> Answer:
    """Answers a request."""
    given = call.json()
    service = given.get("ServiceCode")
    if service not in QUOTAS:
        raise Refused("NoSuchResourceException", "The lab has no quotas of that service.")
    match call.action:
        case "GetServiceQuota" | "GetAWSDefaultServiceQuota":
            code = given.get("QuotaCode")
            if code not in QUOTAS[service]:
                raise Refused("NoSuchResourceException", "The request failed.")
            said: dict = {"Quota": describe(call.region, service, code)}
        case "ListServiceQuotas" | "ListAWSDefaultServiceQuotas":
            said = {"Quotas": [describe(call.region, service, code) for code in QUOTAS[service]]}
        case _:
            raise Refused("InvalidAction", f"the lab has no {call.action}", 501)
    headers = [("content-type", "application/x-amz-json-1.1")]
    return Answer(200, headers, json.dumps(said).encode())


def raised(values: dict[str, float]) -> None:
    """Gives the account other limits, as somebody's request would."""
    for code, value in values.items():
        for quotas in QUOTAS.values():
            if code in quotas:
                quotas[code] = (quotas[code][0], float(value))


def describe(region: str, service: str, code: str) -> dict:
    """One in the API's words."""
    name, value = QUOTAS[service][code]
    return {
        "ServiceCode": service,
        "ServiceName": SERVICES[service],
        "QuotaArn": f"arn:aws:servicequotas:{region}:123456789012:{service}/{code}",
        "QuotaCode": code,
        "QuotaName": name,
        "Value": value,
        "Unit": "None",
        "Adjustable": True,
        "GlobalQuota": False,
    }

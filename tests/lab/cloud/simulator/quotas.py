"""Service Quotas, of which moto has none for EC2.

Owns a new account's limits for what a module could run into. Refuses other
quotas; and none of these is enforced: a test makes the error itself.
"""

import json

from .wire import Answer, Call, Refused

# Code: name, value.
EC2 = {
    "L-1216C47A": ("Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", 5.0),
    "L-0263D0A3": ("EC2-VPC Elastic IPs", 5.0),
}


def answer(call: Call) -> Answer:
    """Answers a request."""
    given = call.json()
    if given.get("ServiceCode") != "ec2":
        raise Refused("NoSuchResourceException", "The lab has quotas of EC2 alone.")
    match call.action:
        case "GetServiceQuota" | "GetAWSDefaultServiceQuota":
            code = given.get("QuotaCode")
            if code not in EC2:
                raise Refused("NoSuchResourceException", "The request failed.")
            said: dict = {"Quota": describe(call.region, code)}
        case "ListServiceQuotas" | "ListAWSDefaultServiceQuotas":
            said = {"Quotas": [describe(call.region, code) for code in EC2]}
        case _:
            raise Refused("InvalidAction", f"the lab has no {call.action}", 501)
    headers = [("content-type", "application/x-amz-json-1.1")]
    return Answer(200, headers, json.dumps(said).encode())


def raised(values: dict[str, float]) -> None:
    """Gives the account other limits, as somebody's request would."""
    for code, value in values.items():
        name, _ = EC2[code]
        EC2[code] = (name, float(value))


def describe(region: str, code: str) -> dict:
    """One in the API's words."""
    name, value = EC2[code]
    return {
        "ServiceCode": "ec2",
        "ServiceName": "Amazon Elastic Compute Cloud (Amazon EC2)",
        "QuotaArn": f"arn:aws:servicequotas:{region}:123456789012:ec2/{code}",
        "QuotaCode": code,
        "QuotaName": name,
        "Value": value,
        "Unit": "None",
        "Adjustable": True,
        "GlobalQuota": False,
    }

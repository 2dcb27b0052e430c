"""What Lightsail offers: regions, sizes and images.

Owns a part of each list, with the real names and figures. Refuses nothing; who
asks for what is not in it is refused by whoever looks here.
"""

ZONES = "abc"

REGIONS = {
    "us-east-1": ("NA", "Virginia"),
    "us-east-2": ("NA", "Ohio"),
    "us-west-2": ("NA", "Oregon"),
    "ca-central-1": ("NA", "Montreal"),
    "eu-west-1": ("EU", "Ireland"),
    "eu-west-2": ("EU", "London"),
    "eu-west-3": ("EU", "Paris"),
    "eu-central-1": ("EU", "Frankfurt"),
    "eu-north-1": ("EU", "Stockholm"),
    "ap-northeast-1": ("AS", "Tokyo"),
    "ap-northeast-2": ("AS", "Seoul"),
    "ap-south-1": ("AS", "Mumbai"),
    "ap-southeast-1": ("AS", "Singapore"),
    "ap-southeast-2": ("OC", "Sydney"),
}

# Name, price in dollars a month, processors, memory in GB, disk and traffic in GB.
SIZES = [
    ("nano", 5.0, 2, 0.5, 20, 1024),
    ("micro", 7.0, 2, 1.0, 40, 2048),
    ("small", 12.0, 2, 2.0, 60, 3072),
    ("medium", 24.0, 2, 4.0, 80, 4096),
    ("large", 44.0, 2, 8.0, 160, 5120),
    ("xlarge", 84.0, 4, 16.0, 320, 6144),
    ("2xlarge", 164.0, 8, 32.0, 640, 7168),
]


def bundles() -> dict[str, dict]:
    """The Linux sizes of the third generation."""
    found = {}
    for power, (name, price, cpus, memory, disk, traffic) in enumerate(SIZES):
        found[f"{name}_3_0"] = {
            "bundleId": f"{name}_3_0",
            "name": name.capitalize(),
            "instanceType": name,
            "price": price,
            "cpuCount": cpus,
            "ramSizeInGb": memory,
            "diskSizeInGb": disk,
            "transferPerMonthInGb": traffic,
            "isActive": True,
            "power": 300 + 100 * power,
            "supportedPlatforms": ["LINUX_UNIX"],
            "publicIpv4AddressCount": 1,
        }
    return found


def blueprints() -> dict[str, dict]:
    """The one image that there are machines of."""
    return {
        "amazon_linux_2023": {
            "blueprintId": "amazon_linux_2023",
            "name": "Amazon Linux 2023",
            "group": "amazon_linux_2023",
            "type": "os",
            "description": "Amazon Linux 2023",
            "isActive": True,
            "minPower": 0,
            "version": "2023.9",
            "versionCode": "1",
            "platform": "LINUX_UNIX",
        }
    }


def regions(with_zones: bool) -> list[dict]:
    """The regions, and their zones where these were asked for."""
    found = []
    for name, (continent, label) in REGIONS.items():
        zones = [{"zoneName": f"{name}{zone}", "state": "available"} for zone in ZONES]
        found.append(
            {
                "name": name,
                "continentCode": continent,
                "displayName": label,
                "description": f"This region is recommended for {label}",
                "availabilityZones": zones if with_zones else [],
                "relationalDatabaseAvailabilityZones": [],
            }
        )
    return found

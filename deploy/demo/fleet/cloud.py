"""The AWS of the demo: an organization in moto, one account for each tenant."""

from dataclasses import dataclass

import boto3
from botocore.config import Config

REGION = "eu-west-1"
ROLE = "tenantscope-agent"

# Six customers of the demo's SaaS: id, tier, release wave.
BAD_TENANT = "globex"
TENANTS = [
    ("acme", "gold", "canary"),
    ("globex", "gold", "early"),
    ("initech", "silver", "early"),
    ("umbrella", "silver", "late"),
    ("hooli", "bronze", "late"),
    ("stark", "bronze", "late"),
]


@dataclass
class Account:
    """A tenant's account, with credentials for the agent's role in it."""

    tenant: str
    tier: str
    wave: str
    id: str
    environment: dict

    def client(self, endpoint, service):
        return client(endpoint, service, self.environment)


def client(endpoint, service, environment):
    return boto3.client(
        service, endpoint_url=endpoint, region_name=REGION,
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=environment.get("AWS_SESSION_TOKEN"),
        config=Config(retries={"max_attempts": 5, "mode": "standard"}))


def create_organization(endpoint):
    """Creates the accounts with their tags and assumes the agent's role in each."""
    management = {"AWS_ACCESS_KEY_ID": "management", "AWS_SECRET_ACCESS_KEY": "management"}
    organizations = client(endpoint, "organizations", management)
    organizations.create_organization(FeatureSet="ALL")
    sts = client(endpoint, "sts", management)
    accounts = []
    for tenant, tier, wave in TENANTS:
        status = organizations.create_account(
            Email=f"aws@{tenant}.example.com", AccountName=tenant,
            Tags=[{"Key": "tier", "Value": tier}, {"Key": "wave", "Value": wave}])
        account = status["CreateAccountStatus"]["AccountId"]
        credentials = sts.assume_role(
            RoleArn=f"arn:aws:iam::{account}:role/{ROLE}", RoleSessionName="demo",
            DurationSeconds=12 * 3600)["Credentials"]
        accounts.append(Account(tenant, tier, wave, account, {
            "AWS_ACCESS_KEY_ID": credentials["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": credentials["SecretAccessKey"],
            "AWS_SESSION_TOKEN": credentials["SessionToken"],
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": endpoint,
        }))
    return accounts


def registry_yaml(accounts):
    """tenants.yaml from the organization's accounts and tags."""
    lines = ["# Written by deploy/demo/up from the organization's accounts and their tags.", "tenants:"]
    for a in accounts:
        lines.append(f'  - {{id: {a.tenant}, accounts: ["{a.id}"], attributes: {{tier: {a.tier}, wave: {a.wave}}}}}')
    return "\n".join(lines) + "\n"

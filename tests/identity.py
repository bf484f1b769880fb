"""Proofs of identity, signed by botocore: an implementation that no one here wrote."""

import secrets

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

REGION = "eu-west-1"
SERVER_NAME = "collector.test"
HOST = f"sts.{REGION}.amazonaws.com"
BODY = "Action=GetCallerIdentity&Version=2011-06-15"


def client(url, service, credentials=None):
    key, secret, token = credentials or ("setup", "setup", None)
    return boto3.client(service, endpoint_url=url, region_name=REGION, aws_access_key_id=key,
                        aws_secret_access_key=secret, aws_session_token=token)


def assume_role(url, account, role="tenantscope-agent"):
    """Credentials for a role in the account: (key, secret, token)."""
    answer = client(url, "sts").assume_role(RoleArn=f"arn:aws:iam::{account}:role/{role}", RoleSessionName="test")
    credentials = answer["Credentials"]
    return credentials["AccessKeyId"], credentials["SecretAccessKey"], credentials["SessionToken"]


def proof(credentials, server=SERVER_NAME, nonce=None, region=REGION):
    """A signed sts:GetCallerIdentity, as the collector takes it."""
    nonce = nonce or secrets.token_hex(16)
    host = f"sts.{region}.amazonaws.com"
    request = AWSRequest("POST", f"https://{host}/", data=BODY, headers={
        "host": host, "content-type": "application/x-www-form-urlencoded",
        "x-tenantscope-server": server, "x-tenantscope-nonce": nonce})
    key, secret, token = credentials
    SigV4Auth(Credentials(key, secret, token), "sts", region).add_auth(request)
    made = {"kind": "sts", "region": region, "host": host, "server": server, "nonce": nonce,
            "amz_date": request.headers["X-Amz-Date"], "authorization": request.headers["Authorization"]}
    if token:
        made["security_token"] = token
    return made


def exchange(collector, made, agent="test-agent", **more):
    """Asks the collector's OTLP listener for a token."""
    request = {"agent": agent, "mode": "once", "version": "0.1.0", "proof": made, **more}
    return collector.session.post(collector.otlp_http + "/tenantscope/v1/identity", json=request, timeout=30)


def config(sts_url, tenants="tenants.yaml", **more):
    """collector.yaml for a registry and proofs."""
    return {"identity": {"server_name": SERVER_NAME,
                         "sts": {"endpoints": {REGION: sts_url}, "role": "arn:aws:sts::*:assumed-role/tenantscope-agent/*"}},
            "registry": {"file": tenants}, **more}

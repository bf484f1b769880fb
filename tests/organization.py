"""An AWS organization in moto, and a collector whose registry is made of it."""

import identity


class Organization:
    """Accounts, units and tags, made by boto3."""

    def __init__(self, url):
        self.url = url
        self.client = identity.client(url, "organizations")
        self.client.create_organization(FeatureSet="ALL")
        self.root = self.client.list_roots()["Roots"][0]["Id"]

    def unit(self, name, parent=None):
        made = self.client.create_organizational_unit(ParentId=parent or self.root, Name=name)
        return made["OrganizationalUnit"]["Id"]

    def account(self, name, unit=None, **tags):
        tags = [{"Key": key, "Value": value} for key, value in tags.items()]
        made = self.client.create_account(Email=f"{name}@example.com", AccountName=name, Tags=tags)
        account = made["CreateAccountStatus"]["AccountId"]
        if unit:
            self.client.move_account(AccountId=account, SourceParentId=self.root, DestinationParentId=unit)
        return account

    def tag(self, account, **tags):
        self.client.tag_resource(ResourceId=account, Tags=[{"Key": key, "Value": value} for key, value in tags.items()])

    def close(self, account):
        self.client.close_account(AccountId=account)

    def remove(self, account):
        self.client.remove_account_from_organization(AccountId=account)


def environment(url):
    """What points a collector at it."""
    return {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "collector", "AWS_SECRET_ACCESS_KEY": "collector"}


def config(sts_url, organizations=None, **registry):
    """collector.yaml for proofs and an organization that is read each second."""
    made = identity.config(sts_url)
    made["registry"] = {"organizations": {"refresh": "1s", "calls_per_second": 100, **(organizations or {})}, **registry}
    return made

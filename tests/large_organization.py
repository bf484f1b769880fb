"""moto with an organization of many accounts from the start: made by calls they would take minutes.

Takes the number of accounts, then moto_server's arguments. Account n is `tenant-n`'s, of tier gold, in one of ten units.
"""

import copy
import sys

from moto.organizations import utils
from moto.organizations.models import organizations_backends
from moto.server import main

MANAGEMENT_ACCOUNT = "123456789012"


def fill(accounts):
    backend = organizations_backends[MANAGEMENT_ACCOUNT]["aws"]
    backend.create_organization(region="us-east-1", FeatureSet="ALL")
    root = backend.org.root_id
    units = [backend.create_organizational_unit(ParentId=root, Name=f"unit-{n}")["OrganizationalUnit"]["Id"] for n in range(10)]
    # Whole accounts come with IAM of their own, which nobody asks here: one is made, the others are like it.
    backend.create_account(AccountName="account-0", Email="account-0@example.com", Tags=[])
    first = backend.accounts[-1]
    for n in range(accounts):
        account = first if n == 0 else copy.copy(first)
        account.id = utils.make_random_account_id() if n else account.id
        account.name, account.email = f"account-{n}", f"account-{n}@example.com"
        account.tags = {"tenant": f"tenant-{n}", "tier": "gold"}
        account.parent_id = units[n % len(units)]
        if n:
            backend.accounts.append(account)


if __name__ == "__main__":
    fill(int(sys.argv[1]))
    main(sys.argv[2:])

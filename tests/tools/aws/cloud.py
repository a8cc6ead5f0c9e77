"""Fills ministack with what an organisation needs around Sessionwarden. Reads what it is to be, and prints what it became.

Instances, keys and queues get their names from the server; everything else is named by whoever asks.
"""

import json
import sys

import boto3

ASK = json.load(sys.stdin)
URL, REGION, OWN = ASK["url"], ASK["region"], ASK["management"]


def clients(account):
    session = boto3.session.Session(region_name=REGION, aws_access_key_id=account, aws_secret_access_key="test")
    return lambda service: session.client(service, endpoint_url=URL)


def text(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def trust(principal, **more):
    return text({"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole", **more})


def key(account, policy, alias=None):
    kms = clients(account)("kms")
    arn = kms.create_key(Policy=policy)["KeyMetadata"]["Arn"]
    if alias:
        kms.create_alias(AliasName=alias, TargetKeyId=arn.rsplit("/", 1)[1])
    return arn


def bucket(asked, key_arn):
    s3 = clients(asked["account"])("s3")
    name = asked["name"]
    place = {"LocationConstraint": REGION}
    s3.create_bucket(Bucket=name, CreateBucketConfiguration=place, ObjectLockEnabledForBucket=True)
    policy = json.loads(asked["policy"])
    # The servers of the tests speak plain HTTP.
    policy["Statement"] = [one for one in policy["Statement"] if one.get("Sid") != "OnlyTls"]
    s3.put_bucket_policy(Bucket=name, Policy=json.dumps(policy))
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key_arn}}
    s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [rule]})


def identity(iam, asked, replace):
    path, tags = asked["path"], [{"Key": key, "Value": value} for key, value in asked["tags"].items()]
    if asked["user"]:
        iam.create_user(UserName=asked["name"], Path=path, Tags=tags)
        put = lambda **more: iam.put_user_policy(UserName=asked["name"], **more)
    else:
        anybody = trust({"AWS": f"arn:aws:iam::{OWN}:root", "Service": "ec2.amazonaws.com"})
        iam.create_role(RoleName=asked["name"], Path=path, Tags=tags, AssumeRolePolicyDocument=anybody)
        put = lambda **more: iam.put_role_policy(RoleName=asked["name"], **more)
    for number, policy in enumerate(asked["policies"]):
        put(PolicyName=f"Policy{number}", PolicyDocument=replace(policy))


def warden(iam):
    asks = {"StringEquals": {"sts:ExternalId": ASK["external_id"]}}
    trusted = trust({"AWS": f"arn:aws:iam::{OWN}:root"}, Condition=asks)
    iam.create_role(RoleName=ASK["role"], AssumeRolePolicyDocument=trusted)
    may = text({"Effect": "Allow", "Action": ASK["actions"], "Resource": "*"})
    iam.put_role_policy(RoleName=ASK["role"], PolicyName="Watch", PolicyDocument=may)


def member(asked, replace):
    account = asked["account"]
    own = clients(account)
    iam = own("iam")
    for one in asked["identities"]:
        identity(iam, one, replace)
    warden(iam)
    ec2 = own("ec2")
    instances = {}
    for profile, role in asked["profiles"].items():
        iam.create_instance_profile(InstanceProfileName=profile)
        iam.add_role_to_instance_profile(InstanceProfileName=profile, RoleName=role)
        tags = [{"Key": key, "Value": value} for key, value in ASK["node_tags"].items()]
        started = ec2.run_instances(
            ImageId="ami-12345678",
            MinCount=1,
            MaxCount=1,
            IamInstanceProfile={"Name": profile},
            TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
        )
        instances[profile] = started["Instances"][0]["InstanceId"]
    key(account, replace(asked["key_policy"]), ASK["key_alias"])
    own("sns").create_topic(Name=ASK["topic"])
    return instances


def queues(own):
    sns, sqs = own("sns"), own("sqs")
    topic = sns.create_topic(Name=ASK["topic"])["TopicArn"]
    queue = lambda name, **attributes: sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    arn = f"arn:aws:sqs:{REGION}:{OWN}:sessionwarden-notifications"
    may_send = text({
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    })
    made = {
        "topic": topic,
        "wake_ups": queue("sessionwarden-wake-ups"),
        "parked": queue("sessionwarden-parked"),
        "notifications": queue("sessionwarden-notifications", Policy=may_send),
    }
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    return made


def main():
    own = clients(OWN)
    organizations = own("organizations")
    organization = organizations.describe_organization()["Organization"]["Id"]
    quarantine = {
        name: organizations.create_policy(
            Name=f"sessionwarden-{name}", Description="", Content=content, Type="SERVICE_CONTROL_POLICY"
        )["Policy"]["PolicySummary"]["Id"]
        for name, content in ASK["quarantine"].items()
    }

    def rename(policy):
        return policy.replace(ASK["organization"], organization)

    logs = ASK["bucket"]
    key_arn = key(logs["account"], rename(logs["key_policy"]))
    bucket({**logs, "policy": rename(logs["policy"])}, key_arn)
    warden(clients(logs["account"])("iam"))
    replace = lambda policy: rename(policy).replace(logs["key"], key_arn)
    members = {asked["account"]: member(asked, replace) for asked in ASK["members"]}
    print(json.dumps({**queues(own), "quarantine": quarantine, "members": members}))


main()

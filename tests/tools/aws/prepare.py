"""Prepares a test server by way of boto3, and prints what the test needs to know as one line of JSON.

    prepare.py moto URL       a member account with everything that the ports ask about
    prepare.py ministack URL  an organisation with a member account, a role with a trust policy, policies and buckets
"""

import json
import sys

import boto3

REGION = "eu-west-1"
MEMBER = "111122223333"
EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


def text(statement):
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def trust(principal, **more):
    return text({"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole", **more})


def clients(url, key, secret="test", token=None):
    def client(name):
        return boto3.client(
            name,
            endpoint_url=url,
            region_name=REGION,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            aws_session_token=token,
        )

    return client


def assume(client, role):
    lent = client("sts").assume_role(RoleArn=role, RoleSessionName="prepare")["Credentials"]
    return lent["AccessKeyId"], lent["SecretAccessKey"], lent["SessionToken"]


def identities(iam):
    read = text({"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::logs/ü é*"})
    policy = iam.create_policy(PolicyName="Write", Path="/team/", PolicyDocument=read)["Policy"]["Arn"]
    second = text({"Effect": "Deny", "Action": "s3:PutObject", "Resource": "*"})
    iam.create_policy_version(PolicyArn=policy, PolicyDocument=second, SetAsDefault=True)
    boundary = iam.create_policy(PolicyName="Boundary", PolicyDocument=json.dumps(EVERYTHING))["Policy"]["Arn"]
    iam.create_role(
        RoleName="node",
        Path="/nodes/",
        AssumeRolePolicyDocument=trust({"Service": "ec2.amazonaws.com"}),
        PermissionsBoundary=boundary,
        Tags=[{"Key": "team", "Value": "orders"}],
    )
    iam.attach_role_policy(RoleName="node", PolicyArn=policy)
    for number in range(3):
        iam.put_role_policy(RoleName="node", PolicyName=f"Inline{number}", PolicyDocument=read)
    iam.create_instance_profile(InstanceProfileName="node-profile", Path="/nodes/")
    iam.add_role_to_instance_profile(InstanceProfileName="node-profile", RoleName="node")
    iam.create_instance_profile(InstanceProfileName="empty-profile")
    iam.create_user(UserName="ann", Tags=[{"Key": "team", "Value": "orders"}])
    iam.put_user_policy(UserName="ann", PolicyName="Own", PolicyDocument=read)
    iam.create_group(GroupName="admins")
    iam.add_user_to_group(GroupName="admins", UserName="ann")
    iam.put_group_policy(GroupName="admins", PolicyName="OfGroup", PolicyDocument=second)
    iam.attach_group_policy(GroupName="admins", PolicyArn=policy)
    return {"policy": policy, "boundary": boundary, "read": read, "denied": second}


def instances(ec2, iam):
    vpc = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.1.1.0/24")["Subnet"]["SubnetId"]
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    run = ec2.run_instances(ImageId=image, MinCount=4, MaxCount=4, SubnetId=subnet)["Instances"]
    with_role, empty, bare, stopped = (it["InstanceId"] for it in run)
    associations = {}
    for instance, profile in ((with_role, "node-profile"), (empty, "empty-profile")):
        arn = iam.get_instance_profile(InstanceProfileName=profile)["InstanceProfile"]["Arn"]
        made = ec2.associate_iam_instance_profile(IamInstanceProfile={"Arn": arn}, InstanceId=instance)
        associations[instance] = made["IamInstanceProfileAssociation"]["AssociationId"]
    ec2.create_tags(Resources=[with_role], Tags=[{"Key": "Name", "Value": "orders <1> & more"}])
    ec2.stop_instances(InstanceIds=[stopped])
    endpoint = ec2.create_vpc_endpoint(
        VpcId=vpc,
        ServiceName=f"com.amazonaws.{REGION}.s3",
        VpcEndpointType="Gateway",
        PolicyDocument=json.dumps(EVERYTHING),
    )["VpcEndpoint"]["VpcEndpointId"]
    return {
        "vpc": vpc,
        "with_role": with_role,
        "empty": empty,
        "bare": bare,
        "stopped": stopped,
        "association": associations[with_role],
        "endpoint": endpoint,
    }


def keys(kms):
    policy = text({"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*"})
    made = [kms.create_key(Policy=policy)["KeyMetadata"]["Arn"] for _ in range(2)]
    kms.create_alias(AliasName="alias/logs", TargetKeyId=made[0])
    kms.disable_key(KeyId=made[1].rsplit("/", 1)[1])
    return {"key": made[0], "disabled": made[1], "key_policy": policy}


def bucket(s3, name, key):
    s3.create_bucket(
        Bucket=name,
        CreateBucketConfiguration={"LocationConstraint": REGION},
        ObjectLockEnabledForBucket=True,
    )
    policy = text({
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{MEMBER}:root"},
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{name}/*",
    })
    s3.put_bucket_policy(Bucket=name, Policy=policy)
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}}
    s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [rule]})
    s3.put_object(Bucket=name, Key="once.log", Body=b"12345")
    s3.put_object(Bucket=name, Key="once.log-longer", Body=b"1")
    for body in (b"1", b"123"):
        s3.put_object(Bucket=name, Key="twice.log", Body=body)
    s3.put_object(Bucket=name, Key="deleted.log", Body=b"1")
    s3.delete_object(Bucket=name, Key="deleted.log")


def moto(url):
    own = clients(url, "testing")
    own("organizations").create_organization(FeatureSet="ALL")
    member = clients(url, *assume(own, f"arn:aws:iam::{MEMBER}:role/sessionwarden"))
    iam = member("iam")
    known = {**identities(iam), **instances(member("ec2"), iam), **keys(member("kms"))}
    ssm = member("ssm")
    content = {"schemaVersion": "1.0", "description": "d", "sessionType": "Standard_Stream", "inputs": {}}
    for name in ("SSM-SessionManagerRunShell", "Own"):
        ssm.create_document(Name=name, Content=json.dumps(content), DocumentType="Session", DocumentFormat="JSON")
    content["description"] = "second"
    ssm.update_document(Name="Own", Content=json.dumps(content), DocumentVersion="$LATEST")
    ssm.update_document_default_version(Name="Own", DocumentVersion="2")
    stream = member("logs")
    stream.create_log_group(logGroupName="/sessions")
    for name in ("ann-0a", "ann-0ab", "bob-1"):
        stream.create_log_stream(logGroupName="/sessions", logStreamName=name)
    stream.put_log_events(
        logGroupName="/sessions", logStreamName="ann-0a", logEvents=[{"timestamp": 1_795_000_000_000, "message": "m"}]
    )
    exec_ = {"logging": "OVERRIDE", "logConfiguration": {"s3BucketName": "logs", "cloudWatchLogGroupName": "/sessions"}}
    member("ecs").create_cluster(clusterName="web", configuration={"executeCommandConfiguration": exec_})
    member("ecs").create_cluster(clusterName="default")
    return {**known, "document": json.dumps(content)}


def ministack(url):
    management = "000000000000"
    own = clients(url, management)
    member = clients(url, MEMBER)
    organizations = own("organizations")
    organization = organizations.describe_organization()["Organization"]
    root = organizations.list_roots()["Roots"][0]["Id"]
    unit = organizations.create_organizational_unit(ParentId=root, Name="workloads")["OrganizationalUnit"]["Id"]
    created = organizations.create_account(Email="a@example.com", AccountName="orders")["CreateAccountStatus"]
    account = created["AccountId"]
    organizations.move_account(AccountId=account, SourceParentId=root, DestinationParentId=unit)
    content = sys.stdin.read()
    quarantine = organizations.create_policy(
        Name="quarantine", Description="", Content=content, Type="SERVICE_CONTROL_POLICY"
    )["Policy"]["PolicySummary"]["Id"]
    iam = member("iam")
    asks = {"StringEquals": {"sts:ExternalId": "right"}}
    iam.create_role(
        RoleName="sessionwarden",
        Path="/guard/",
        AssumeRolePolicyDocument=trust({"AWS": f"arn:aws:iam::{management}:root"}, Condition=asks),
    )
    iam.put_role_policy(RoleName="sessionwarden", PolicyName="Read", PolicyDocument=text(
        {"Effect": "Allow", "Action": "iam:*", "Resource": "*"}
    ))
    iam.create_role(RoleName="node", AssumeRolePolicyDocument=trust({"Service": "ec2.amazonaws.com"}))
    logs = own("s3")
    bucket(logs, "logs", "key-1")
    logs.create_bucket(Bucket="plain", CreateBucketConfiguration={"LocationConstraint": REGION})
    return {
        "organization": organization["Id"],
        "management": management,
        "account": account,
        "quarantine": quarantine,
        "content": content,
    }


if __name__ == "__main__":
    print(json.dumps({"moto": moto, "ministack": ministack}[sys.argv[1]](sys.argv[2])))

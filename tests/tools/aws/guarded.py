"""Makes things of a guardrail, and tampers with them, by way of boto3.

    guarded.py make URL      makes them on moto, and prints their names as one line of JSON
    guarded.py tamper URL    changes each of them, with the names on the standard input
    guarded.py alarm URL     makes an alarm on ministack whose actions are disabled
"""

import json
import sys

from prepare import MEMBER, REGION, assume, clients, text, trust

DENY = text({"Effect": "Deny", "Action": "s3:*", "Resource": "*"})
ALLOW = text({"Effect": "Allow", "Action": ["s3:PutObject", "s3:GetObject"], "Resource": "arn:aws:s3:::guarded-logs/*"})
OPEN = {"schemaVersion": "1.0", "description": "d", "sessionType": "Standard_Stream", "inputs": {}}
STRICT = {**OPEN, "inputs": {"s3BucketName": "guarded-logs", "s3EncryptionEnabled": True, "idleSessionTimeout": "10"}}


def key_policy(actions):
    return text({"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{MEMBER}:root"}, "Action": actions, "Resource": "*"})


def bucket_policy(effect):
    return text({"Effect": effect, "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::guarded-logs/*"})


def topic_policy(topic, account):
    principal = {"AWS": f"arn:aws:iam::{account}:root"}
    return text({"Effect": "Allow", "Principal": principal, "Action": "sns:Publish", "Resource": topic})


def make(own, member):
    known = {}
    kms = member("kms")
    key = kms.create_key(Policy=key_policy(["kms:Encrypt", "kms:Decrypt"]))["KeyMetadata"]["KeyId"]
    grant = kms.create_grant(
        KeyId=key, GranteePrincipal=f"arn:aws:iam::{MEMBER}:role/logger", Operations=["Encrypt", "Decrypt"], Name="logs"
    )
    doomed = kms.create_key()["KeyMetadata"]["KeyId"]
    known |= {"key": key, "grant": grant["GrantId"], "doomed": doomed}

    s3 = member("s3")
    s3.create_bucket(
        Bucket="guarded-logs", CreateBucketConfiguration={"LocationConstraint": REGION}, ObjectLockEnabledForBucket=True
    )
    s3.put_bucket_versioning(Bucket="guarded-logs", VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_policy(Bucket="guarded-logs", Policy=bucket_policy("Allow"))
    encrypt = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}}
    s3.put_bucket_encryption(Bucket="guarded-logs", ServerSideEncryptionConfiguration={"Rules": [encrypt]})
    keep = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 30}}}
    s3.put_object_lock_configuration(Bucket="guarded-logs", ObjectLockConfiguration=keep)

    events = member("events")
    pattern = json.dumps({"source": ["aws.ssm", "aws.ecs"]})
    for name in ("guarded-rule", "guarded-rule-2"):
        events.put_rule(Name=name, EventPattern=pattern, Description="Watches sessions")
        events.put_targets(Rule=name, Targets=[{"Id": "a", "Arn": f"arn:aws:sqs:{REGION}:{MEMBER}:a"}])

    for name in ("guarded-trail", "guarded-trail-2"):
        member("cloudtrail").create_trail(Name=name, S3BucketName="guarded-logs", S3KeyPrefix="trail", IsMultiRegionTrail=True)
        selectors = [{"ReadWriteType": "All", "IncludeManagementEvents": True, "DataResources": []}]
        member("cloudtrail").put_event_selectors(TrailName=name, EventSelectors=selectors)
        member("cloudtrail").start_logging(Name=name)

    iam = member("iam")
    policy = iam.create_policy(PolicyName="guarded-policy", Path="/guard/", PolicyDocument=ALLOW)["Policy"]["Arn"]
    boundary = iam.create_policy(PolicyName="guarded-boundary", PolicyDocument=ALLOW)["Policy"]["Arn"]
    gone = iam.create_policy(PolicyName="guarded-policy-2", Path="/guard/", PolicyDocument=ALLOW)["Policy"]["Arn"]
    for name in ("guarded-role", "guarded-role-2"):
        iam.create_role(
            RoleName=name,
            Path="/guard/",
            AssumeRolePolicyDocument=trust({"AWS": f"arn:aws:iam::{MEMBER}:root"}),
            PermissionsBoundary=boundary,
        )
        iam.attach_role_policy(RoleName=name, PolicyArn=policy)
        iam.put_role_policy(RoleName=name, PolicyName="Own", PolicyDocument=ALLOW)
    known |= {"policy": policy, "boundary": boundary, "gone": gone}

    ssm = member("ssm")
    for name in ("guarded-document", "guarded-document-2"):
        ssm.create_document(Name=name, Content=json.dumps(STRICT), DocumentType="Session", DocumentFormat="JSON")

    member("kinesis").create_stream(StreamName="guarded-stream", ShardCount=1)
    member("kinesis").increase_stream_retention_period(StreamName="guarded-stream", RetentionPeriodHours=168)
    topic = member("sns").create_topic(Name="guarded-topic")["TopicArn"]
    member("sns").set_topic_attributes(
        TopicArn=topic, AttributeName="Policy", AttributeValue=topic_policy(topic, MEMBER)
    )
    organizations = own("organizations")
    organizations.create_organization(FeatureSet="ALL")
    root = organizations.list_roots()["Roots"][0]["Id"]
    organizations.enable_policy_type(RootId=root, PolicyType="SERVICE_CONTROL_POLICY")
    created = organizations.create_policy(Name="guard", Description="d", Content=DENY, Type="SERVICE_CONTROL_POLICY")
    scp = created["Policy"]["PolicySummary"]["Id"]
    organizations.attach_policy(PolicyId=scp, TargetId=root)
    return {**known, "topic": topic, "organization_policy": scp, "root": root}


def tamper(own, member, known):
    kms = member("kms")
    kms.put_key_policy(KeyId=known["key"], PolicyName="default", Policy=key_policy(["kms:*"]))
    kms.revoke_grant(KeyId=known["key"], GrantId=known["grant"])
    kms.disable_key(KeyId=known["key"])
    kms.schedule_key_deletion(KeyId=known["doomed"], PendingWindowInDays=7)

    s3 = member("s3")
    s3.delete_bucket_policy(Bucket="guarded-logs")
    s3.delete_bucket_encryption(Bucket="guarded-logs")
    keep = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}}
    s3.put_object_lock_configuration(Bucket="guarded-logs", ObjectLockConfiguration=keep)
    expire = {"ID": "x", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}
    s3.put_bucket_lifecycle_configuration(Bucket="guarded-logs", LifecycleConfiguration={"Rules": [expire]})
    s3.put_bucket_versioning(Bucket="guarded-logs", VersioningConfiguration={"Status": "Suspended"})

    events = member("events")
    events.put_targets(Rule="guarded-rule", Targets=[{"Id": "b", "Arn": f"arn:aws:sqs:{REGION}:{MEMBER}:b"}])
    events.remove_targets(Rule="guarded-rule", Ids=["a"])
    events.put_rule(Name="guarded-rule", EventPattern='{"source":["nothing"]}', State="DISABLED")
    events.remove_targets(Rule="guarded-rule-2", Ids=["a"])
    events.delete_rule(Name="guarded-rule-2")

    trails = member("cloudtrail")
    trails.update_trail(Name="guarded-trail", S3BucketName="elsewhere", IsMultiRegionTrail=False)
    selectors = [{"ReadWriteType": "ReadOnly", "IncludeManagementEvents": False, "DataResources": []}]
    trails.put_event_selectors(TrailName="guarded-trail", EventSelectors=selectors)
    trails.stop_logging(Name="guarded-trail")
    trails.delete_trail(Name="guarded-trail-2")

    iam = member("iam")
    policy = known["policy"]
    iam.update_assume_role_policy(RoleName="guarded-role", PolicyDocument=trust({"AWS": "*"}))
    iam.put_role_policy(RoleName="guarded-role", PolicyName="Own", PolicyDocument=DENY)
    iam.put_role_policy(RoleName="guarded-role", PolicyName="More", PolicyDocument=DENY)
    iam.detach_role_policy(RoleName="guarded-role", PolicyArn=policy)
    iam.attach_role_policy(RoleName="guarded-role", PolicyArn=known["boundary"])
    iam.delete_role_permissions_boundary(RoleName="guarded-role")
    iam.detach_role_policy(RoleName="guarded-role-2", PolicyArn=policy)
    iam.delete_role_policy(RoleName="guarded-role-2", PolicyName="Own")
    iam.delete_role(RoleName="guarded-role-2")
    iam.create_policy_version(PolicyArn=policy, PolicyDocument=DENY, SetAsDefault=True)
    iam.delete_policy_version(PolicyArn=policy, VersionId="v1")
    iam.delete_policy(PolicyArn=known["gone"])

    ssm = member("ssm")
    ssm.update_document(Name="guarded-document", Content=json.dumps(OPEN), DocumentVersion="$LATEST")
    ssm.update_document_default_version(Name="guarded-document", DocumentVersion="2")
    ssm.modify_document_permission(Name="guarded-document", PermissionType="Share", AccountIdsToAdd=["222233334444"])
    ssm.delete_document(Name="guarded-document-2")
    ssm.create_document(
        Name="SSM-SessionManagerRunShell", Content=json.dumps(OPEN), DocumentType="Session", DocumentFormat="JSON"
    )

    member("kinesis").decrease_stream_retention_period(StreamName="guarded-stream", RetentionPeriodHours=24)
    topic = known["topic"]
    member("sns").set_topic_attributes(
        TopicArn=topic, AttributeName="Policy", AttributeValue=topic_policy(topic, "222233334444")
    )
    member("sns").set_topic_attributes(TopicArn=topic, AttributeName="DisplayName", AttributeValue="mine")
    organizations = own("organizations")
    organizations.update_policy(PolicyId=known["organization_policy"], Content=ALLOW)
    organizations.detach_policy(PolicyId=known["organization_policy"], TargetId=known["root"])
    return {}


def alarm(member):
    member("cloudwatch").put_metric_alarm(
        AlarmName="guarded-alarm", Namespace="n", MetricName="m", Period=60, EvaluationPeriods=1, Threshold=1,
        ComparisonOperator="GreaterThanThreshold", Statistic="Sum", ActionsEnabled=True,
    )
    member("cloudwatch").disable_alarm_actions(AlarmNames=["guarded-alarm"])
    return {}


if __name__ == "__main__":
    what, url = sys.argv[1:]
    if what == "alarm":
        print(json.dumps(alarm(clients(url, "000000000000"))))
        sys.exit()
    own = clients(url, "testing")
    member = clients(url, *assume(own, f"arn:aws:iam::{MEMBER}:role/sessionwarden"))
    print(json.dumps(make(own, member) if what == "make" else tamper(own, member, json.load(sys.stdin))))

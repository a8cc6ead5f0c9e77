//! What an ordinary account does all day: calls that have nothing to do with sessions.

use crate::{
    dice::Dice,
    template::{Scene, Template},
};

const fn read(source: &'static str, name: &'static str, request: &'static str, response: &'static str) -> Template {
    Template { threat: "", source, name, request, response, extra: "", read_only: true, data_event: false }
}

const fn write(source: &'static str, name: &'static str, request: &'static str, response: &'static str) -> Template {
    Template { read_only: false, ..read(source, name, request, response) }
}

const fn about(template: Template, extra: &'static str) -> Template {
    Template { extra, ..template }
}

const fn data(template: Template) -> Template {
    Template { data_event: true, ..template }
}

const OBJECT: &str = r#""additionalEventData":{"SignatureVersion":"SigV4","CipherSuite":"TLS_AES_128_GCM_SHA256","bytesTransferredIn":0,"SSEApplied":"Default_SSE_S3","AuthenticationMethod":"AuthHeader","x-amz-id-2":"$B$K","bytesTransferredOut":18422},"resources":[{"type":"AWS::S3::Object","ARN":"arn:aws:s3:::app-assets-$A/releases/bundle.tar.gz"},{"accountId":"$A","type":"AWS::S3::Bucket","ARN":"arn:aws:s3:::app-assets-$A"}],"#;
const BUCKET: &str = r#""additionalEventData":{"SignatureVersion":"SigV4","CipherSuite":"TLS_AES_128_GCM_SHA256","bytesTransferredIn":0,"AuthenticationMethod":"AuthHeader","x-amz-id-2":"$B$K","bytesTransferredOut":542},"resources":[{"accountId":"$A","type":"AWS::S3::Bucket","ARN":"arn:aws:s3:::app-assets-$A"}],"#;
const KEY: &str = r#""resources":[{"accountId":"$A","type":"AWS::KMS::Key","ARN":"arn:aws:kms:$R:$A:key/1f6c2d0e-7a51-4a53-9a4e-5d3b8c1f0a27"}],"#;
const TABLE: &str =
    r#""resources":[{"accountId":"$A","type":"AWS::DynamoDB::Table","ARN":"arn:aws:dynamodb:$R:$A:table/orders"}],"#;

/// Calls with the share of the background each has, in no unit: a call of weight 4 comes twice as often as one of 2.
const CALLS: &[(u64, Template)] = &[
    (
        10,
        about(
            data(read(
                "s3",
                "GetObject",
                r#"{"bucketName":"app-assets-$A","Host":"app-assets-$A.s3.$R.amazonaws.com","key":"releases/$U/bundle.tar.gz"}"#,
                "null",
            )),
            OBJECT,
        ),
    ),
    (
        4,
        about(
            read(
                "s3",
                "GetBucketAcl",
                r#"{"bucketName":"app-assets-$A","Host":"app-assets-$A.s3.$R.amazonaws.com","acl":""}"#,
                "null",
            ),
            BUCKET,
        ),
    ),
    (
        10,
        about(
            read(
                "sts",
                "AssumeRole",
                r#"{"roleArn":"arn:aws:iam::$A:role/$P","roleSessionName":"deploy-$D","durationSeconds":3600}"#,
                r#"{"credentials":{"accessKeyId":"ASIA$K","sessionToken":"IQoJb3JpZ2luX2VjE$B$B$B$B$B==","expiration":"$T"},"assumedRoleUser":{"assumedRoleId":"AROA$K:deploy","arn":"arn:aws:sts::$A:assumed-role/$P/deploy"}}"#,
            ),
            r#""resources":[{"accountId":"$A","type":"AWS::IAM::Role","ARN":"arn:aws:iam::$A:role/$P"}],"#,
        ),
    ),
    (
        8,
        read(
            "ec2",
            "DescribeInstances",
            r#"{"maxResults":1000,"instancesSet":{},"filterSet":{"items":[{"name":"instance-state-name","valueSet":{"items":[{"value":"running"}]}},{"name":"tag:environment","valueSet":{"items":[{"value":"production"}]}}]}}"#,
            "null",
        ),
    ),
    (
        3,
        write(
            "ec2",
            "RunInstances",
            r#"{"instancesSet":{"items":[{"imageId":"ami-$H","minCount":1,"maxCount":1}]},"instanceType":"m7g.large","blockDeviceMapping":{},"monitoring":{"enabled":false},"subnetId":"subnet-$H","disableApiTermination":false,"disableApiStop":false,"clientToken":"fleet-$U-0","iamInstanceProfile":{"name":"web-profile"},"launchTemplate":{"launchTemplateId":"lt-$H","version":"12"}}"#,
            r#"{"requestId":"$U","reservationId":"r-$H","ownerId":"$A","groupSet":{},"instancesSet":{"items":[{"instanceId":"i-$H","imageId":"ami-$H","currentInstanceBootMode":"uefi","instanceState":{"code":0,"name":"pending"},"privateDnsName":"ip-10-20-31-7.$R.compute.internal","amiLaunchIndex":0,"productCodes":{},"instanceType":"m7g.large","launchTime":1722500000000,"placement":{"availabilityZone":"$Ra","tenancy":"default"},"monitoring":{"state":"disabled"},"subnetId":"subnet-$H","vpcId":"vpc-$H","privateIpAddress":"10.20.31.7","stateReason":{"code":"pending","message":"pending"},"architecture":"arm64","rootDeviceType":"ebs","rootDeviceName":"/dev/xvda","blockDeviceMapping":{},"virtualizationType":"hvm","hypervisor":"xen","tagSet":{"items":[{"key":"aws:autoscaling:groupName","value":"web"},{"key":"environment","value":"production"}]},"clientToken":"fleet-$U-0","groupSet":{"items":[{"groupId":"sg-$H","groupName":"web"}]},"sourceDestCheck":true,"networkInterfaceSet":{"items":[{"networkInterfaceId":"eni-$H","subnetId":"subnet-$H","vpcId":"vpc-$H","ownerId":"$A","status":"in-use","macAddress":"0a:44:8e:30:47:63","privateIpAddress":"10.20.31.7","sourceDestCheck":true,"groupSet":{"items":[{"groupId":"sg-$H","groupName":"web"}]},"attachment":{"attachmentId":"eni-attach-$H","deviceIndex":0,"networkCardIndex":0,"status":"attaching","attachTime":1722500000000,"deleteOnTermination":true}}]},"ebsOptimized":false,"enaSupport":true,"metadataOptions":{"state":"pending","httpTokens":"required","httpPutResponseHopLimit":2,"httpEndpoint":"enabled"}}]}}"#,
        ),
    ),
    (
        10,
        about(
            read(
                "kms",
                "Decrypt",
                r#"{"encryptionContext":{"aws:s3:arn":"arn:aws:s3:::app-assets-$A/releases/$U/bundle.tar.gz"},"encryptionAlgorithm":"SYMMETRIC_DEFAULT"}"#,
                "null",
            ),
            KEY,
        ),
    ),
    (
        6,
        about(
            read(
                "kms",
                "GenerateDataKey",
                r#"{"keyId":"arn:aws:kms:$R:$A:key/1f6c2d0e-7a51-4a53-9a4e-5d3b8c1f0a27","keySpec":"AES_256","encryptionContext":{"aws:s3:arn":"arn:aws:s3:::app-assets-$A"}}"#,
                "null",
            ),
            KEY,
        ),
    ),
    (
        5,
        write(
            "logs",
            "CreateLogStream",
            r#"{"logGroupName":"/aws/lambda/order-intake","logStreamName":"2024/08/01/[$$LATEST]$H$H"}"#,
            "null",
        ),
    ),
    (
        3,
        read(
            "logs",
            "DescribeLogStreams",
            r#"{"logGroupName":"/aws/lambda/order-intake","orderBy":"LastEventTime","descending":true,"limit":50}"#,
            "null",
        ),
    ),
    (
        8,
        about(
            data(write(
                "lambda",
                "Invoke",
                r#"{"functionName":"arn:aws:lambda:$R:$A:function:order-intake","invocationType":"RequestResponse","qualifier":"live"}"#,
                "null",
            )),
            r#""additionalEventData":{"functionVersion":"arn:aws:lambda:$R:$A:function:order-intake:42"},"resources":[{"accountId":"$A","type":"AWS::Lambda::Function","ARN":"arn:aws:lambda:$R:$A:function:order-intake"}],"#,
        ),
    ),
    (2, read("lambda", "ListFunctions20150331", r#"{"maxItems":50}"#, "null")),
    (
        8,
        about(
            data(read(
                "dynamodb",
                "GetItem",
                r#"{"tableName":"orders","key":{"tenant":"t-$D","order":"$U"},"consistentRead":true,"projectionExpression":"items, total, placed","returnConsumedCapacity":"TOTAL"}"#,
                "null",
            )),
            TABLE,
        ),
    ),
    (3, read("dynamodb", "DescribeTable", r#"{"tableName":"orders"}"#, "null")),
    (
        4,
        read(
            "monitoring",
            "GetMetricData",
            r#"{"startTime":"$T","endTime":"$T","metricDataQueries":[{"id":"m1","metricStat":{"metric":{"namespace":"AWS/ApplicationELB","metricName":"TargetResponseTime","dimensions":[{"name":"LoadBalancer","value":"app/web/$H"}]},"period":60,"stat":"p99"},"returnData":true}]}"#,
            "null",
        ),
    ),
    (
        6,
        read(
            "ssm",
            "DescribeInstanceInformation",
            r#"{"filters":[{"key":"InstanceIds","values":["$N","i-$H","i-$H"]}],"maxResults":50}"#,
            "null",
        ),
    ),
    (
        8,
        write(
            "ssm",
            "UpdateInstanceInformation",
            r#"{"instanceId":"$N","agentVersion":"3.3.551.0","agentStatus":"Active","platformType":"Linux","platformName":"Amazon Linux","platformVersion":"2023","iPAddress":"10.20.31.7","computerName":"ip-10-20-31-7.$R.compute.internal","agentName":"amazon-ssm-agent","availabilityZone":"$Ra","availabilityZoneId":"euc1-az2","sSMConnectionChannel":"ssmmessages"}"#,
            "null",
        ),
    ),
    (5, read("ssm", "GetParameter", r#"{"name":"/web/production/database/url","withDecryption":true}"#, "null")),
    (
        3,
        write(
            "athena",
            "StartSession",
            r#"{"workGroup":"spark-reports","description":"nightly report","engineConfiguration":{"coordinatorDpuSize":1,"maxConcurrentDpus":20,"defaultExecutorDpuSize":1},"sessionIdleTimeoutInMinutes":20,"clientRequestToken":"$U"}"#,
            r#"{"sessionId":"$U","state":"CREATING"}"#,
        ),
    ),
    (
        2,
        write(
            "athena",
            "StartQueryExecution",
            r#"{"queryString":"***OMITTED***","clientRequestToken":"$U","queryExecutionContext":{"database":"reports","catalog":"AwsDataCatalog"},"resultConfiguration":{"outputLocation":"s3://reports-$A/athena/"},"workGroup":"primary"}"#,
            r#"{"queryExecutionId":"$U"}"#,
        ),
    ),
    (
        2,
        read(
            "iam",
            "SimulateCustomPolicy",
            r#"{"policyInputList":["{\"Version\":\"2012-10-17\",\"Statement\":[{\"Sid\":\"Shell\",\"Effect\":\"Allow\",\"Action\":[\"ssm:StartSession\",\"ssm:TerminateSession\",\"ssm:ResumeSession\"],\"Resource\":\"arn:aws:ec2:$R:$A:instance/*\",\"Condition\":{\"StringEquals\":{\"ssm:resourceTag/team\":\"web\"}}}]}"],"actionNames":["ssm:StartSession"],"resourceArns":["arn:aws:ec2:$R:$A:instance/$N"]}"#,
            "null",
        ),
    ),
    (
        2,
        read(
            "cloudtrail",
            "LookupEvents",
            r#"{"lookupAttributes":[{"attributeKey":"EventName","attributeValue":"StartSession"}],"startTime":"$T","endTime":"$T","maxResults":50}"#,
            "null",
        ),
    ),
    (
        4,
        read(
            "elasticloadbalancing",
            "DescribeTargetHealth",
            r#"{"targetGroupArn":"arn:aws:elasticloadbalancing:$R:$A:targetgroup/web/$H"}"#,
            "null",
        ),
    ),
    (
        4,
        about(
            read(
                "secretsmanager",
                "GetSecretValue",
                r#"{"secretId":"arn:aws:secretsmanager:$R:$A:secret:web/production-$K","versionStage":"AWSCURRENT"}"#,
                "null",
            ),
            "",
        ),
    ),
    (
        3,
        about(
            read(
                "ecr",
                "BatchGetImage",
                r#"{"registryId":"$A","repositoryName":"web","imageIds":[{"imageTag":"release-$D"}],"acceptedMediaTypes":["application/vnd.oci.image.manifest.v1+json","application/vnd.docker.distribution.manifest.v2+json"]}"#,
                "null",
            ),
            r#""resources":[{"accountId":"$A","ARN":"arn:aws:ecr:$R:$A:repository/web"}],"#,
        ),
    ),
];

/// One of the background's calls, by weight.
pub fn pick(dice: &mut Dice) -> &'static Template {
    let total = const { total_weight() };
    let mut at = dice.below(total);
    for (weight, template) in CALLS {
        if at < *weight {
            return template;
        }
        at -= weight;
    }
    &CALLS[0].1
}

/// Appends the CloudTrail record of one background call.
pub fn write_record(scene: &Scene<'_>, dice: &mut Dice, out: &mut String) {
    pick(dice).write(scene, dice, out);
}

const fn total_weight() -> u64 {
    let (mut sum, mut at) = (0, 0);
    while at < CALLS.len() {
        sum += CALLS[at].0;
        at += 1;
    }
    sum
}

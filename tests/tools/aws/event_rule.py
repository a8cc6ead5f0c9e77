"""Makes an event bus with a rule that sends its events to a queue, and prints the queue's URL as JSON.

    event_rule.py URL ACCOUNT BUS PATTERN    the bus, and a queue and a rule of the same name
"""

import json
import sys

import boto3

REGION = "eu-west-1"


def main(url, account, bus, pattern):
    def client(name):
        return boto3.client(
            name,
            endpoint_url=url,
            region_name=REGION,
            aws_access_key_id=account,
            aws_secret_access_key="test",
        )

    queue = client("sqs").create_queue(QueueName=bus)["QueueUrl"]
    events = client("events")
    events.create_event_bus(Name=bus)
    events.put_rule(Name=bus, EventBusName=bus, EventPattern=pattern)
    target = {"Id": "queue", "Arn": f"arn:aws:sqs:{REGION}:{account}:{bus}"}
    failed = events.put_targets(Rule=bus, EventBusName=bus, Targets=[target])["FailedEntryCount"]
    assert failed == 0
    print(json.dumps(queue))


main(*sys.argv[1:])

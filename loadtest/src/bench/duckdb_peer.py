"""The sessions of a CloudTrail file as one SQL statement in DuckDB, on one thread.

Prints JSON: processor seconds, start of DuckDB not included, and the counts to check them by.
"""

import json
import sys
import time

import duckdb

JOB = """
    WITH calls AS MATERIALIZED (
        SELECT eventID AS event, eventName AS name, eventTime AS made, recipientAccountId AS account, awsRegion AS region,
               userIdentity.arn AS principal,
               coalesce(requestParameters->>'$.sessionId', responseElements->>'$.sessionId') AS session,
               requestParameters->>'$.target' AS target,
               requestParameters->>'$.documentName' AS document
        FROM read_ndjson(?, columns = {
            eventID: 'UUID', eventName: 'VARCHAR', eventSource: 'VARCHAR', eventTime: 'TIMESTAMP',
            recipientAccountId: 'VARCHAR', awsRegion: 'VARCHAR', userIdentity: 'STRUCT("type" VARCHAR, arn VARCHAR)',
            requestParameters: 'JSON', responseElements: 'JSON', errorCode: 'VARCHAR'
        })
        WHERE eventSource = 'ssm.amazonaws.com'
          AND eventName IN ('StartSession', 'ResumeSession', 'TerminateSession')
          AND errorCode IS NULL
    ), sessions AS (
        SELECT account, region, session,
               min(made) FILTER (name = 'StartSession') AS started,
               min(made) FILTER (name = 'ResumeSession') AS resumed,
               min(made) FILTER (name = 'TerminateSession') AS ended,
               arg_min(principal, made) FILTER (name = 'StartSession') AS principal,
               arg_min(target, made) FILTER (name = 'StartSession') AS target,
               arg_min(document, made) FILTER (name = 'StartSession') AS document
        FROM calls GROUP BY account, region, session
    )
    SELECT (SELECT count(DISTINCT event) FROM calls), count(*),
           count(*) FILTER (coalesce(started, resumed) IS NOT NULL AND ended IS NULL),
           count(*) FILTER (document IS NOT NULL OR target NOT LIKE 'i-%'), count(DISTINCT principal)
    FROM sessions
"""

connection = duckdb.connect()
connection.execute("SET threads = 1")
connection.execute("SET preserve_insertion_order = false")
before = time.process_time()
events, seen, alive, _, _ = connection.execute(JOB, [sys.argv[1]]).fetchone()
seconds = time.process_time() - before
print(json.dumps({"cpu_seconds": seconds, "events": events, "seen": seen, "open": alive}))

// Reads requests as `sessionwarden iam simulate` does, one JSON object in each line of standard input, and prints
// {"id","decision","explicit"} for each, as decided by @cloud-copilot/iam-simulate. A request that it refuses gets the
// decision "error".
import { createInterface } from 'node:readline'
import { runSimulation } from '@cloud-copilot/iam-simulate'

const named = (policies, prefix) => policies.map((policy, at) => ({ name: `${prefix}${at}`, policy }))

const levels = (lists, prefix) =>
  (lists ?? []).map((list, at) => ({ orgIdentifier: `${prefix}${at}`, policies: named(list, `${prefix}${at}-`) }))

const context = (given) => {
  const known = Object.entries(given ?? {}).filter(([, values]) => values !== null)
  return Object.fromEntries(known.map(([key, values]) => [key, values.length === 1 ? values[0] : values]))
}

const simulation = (line) => ({
  request: {
    principal: line.principal.arn,
    action: line.action,
    resource: { resource: line.resource, accountId: line.resource_account },
    contextVariables: context(line.context)
  },
  sessionPolicy: line.principal.session_policies?.[0],
  identityPolicies: named(line.principal.policies ?? [], 'identity'),
  serviceControlPolicies: levels(line.scps, 'scp'),
  resourceControlPolicies: levels(line.rcps, 'rcp'),
  resourcePolicy: line.resource_policy ?? undefined,
  permissionBoundaryPolicies: line.principal.boundary ? named([line.principal.boundary], 'boundary') : undefined,
  vpcEndpointPolicies: line.endpoint_policy ? named([line.endpoint_policy], 'endpoint') : undefined
})

for await (const text of createInterface({ input: process.stdin })) {
  const line = JSON.parse(text)
  const answer = await runSimulation(simulation(line), { simulationMode: 'Strict' })
  const result = answer.overallResult
  const row = { id: line.id, decision: result === 'Allowed' ? 'allow' : 'deny', explicit: result === 'ExplicitlyDenied' }
  if (answer.resultType === 'error') {
    row.decision = 'error'
    row.explicit = false
    row.errors = answer.errors
  }
  if (answer.result?.ignoredContextKeys?.length) {
    row.ignored = answer.result.ignoredContextKeys
  }
  console.log(JSON.stringify(row))
}

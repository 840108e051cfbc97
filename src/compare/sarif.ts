/** A comparison as SARIF 2.1.0, which code scanning services read.
 *
 * Each kind of finding is a rule. There are no lines of source to point to: a result names the kernel's file and, as a
 * logical location, the function or field. The fingerprint is the finding's id, so a service can tell old from new.
 * Follows: OASIS SARIF 2.1.0, 3.19 (reportingDescriptor), 3.27 (result), 3.33 (logicalLocation).
 * Next: cli/baseline-folder.ts. */
import { FINDING_KINDS, type Finding, KIND_MEANINGS } from './findings.ts';
import { evidence, type Judged } from './junit.ts';

const SCHEMA = 'https://json.schemastore.org/sarif-2.1.0.json';

export function sarifJson(judged: Judged & { notes: readonly Finding[] }, version: string): string {
  const { kernel, findings, notes } = judged;
  const result = (level: 'error' | 'note') => (finding: Finding) => ({
    ruleId: ruleId(finding.kind),
    ruleIndex: FINDING_KINDS.indexOf(finding.kind),
    level,
    message: { text: evidence(finding) },
    locations: [
      {
        physicalLocation: {
          artifactLocation: { uri: encodeURI(kernel).replaceAll('#', '%23').replaceAll('?', '%3F') },
        },
        logicalLocations: [
          { name: finding.subject, kind: finding.kind === 'function' ? 'function' : 'member' },
          ...finding.paths.map((via) => ({ name: via, kind: 'module' })),
        ],
      },
    ],
    partialFingerprints: { 'zeropageFinding/v1': finding.id },
    properties: {
      paths: finding.paths,
      ...(finding.waypoint !== undefined && { waypoint: finding.waypoint }),
      evidence: finding.evidence,
    },
  });
  const log = {
    $schema: SCHEMA,
    version: '2.1.0',
    runs: [
      {
        tool: {
          driver: {
            name: 'zeropage',
            version,
            rules: FINDING_KINDS.map((kind) => ({
              id: ruleId(kind),
              name: ruleId(kind).replace(/(?:^|-)(\w)/g, (_, letter: string) => letter.toUpperCase()),
              shortDescription: { text: KIND_MEANINGS[kind] },
              defaultConfiguration: { level: 'error' },
            })),
          },
        },
        columnKind: 'utf16CodeUnits',
        results: [...findings.map(result('error')), ...notes.map(result('note'))],
      },
    ],
  };
  return `${JSON.stringify(log, null, 2)}\n`;
}

const ruleId = (kind: string): string => kind.replaceAll(' ', '-');

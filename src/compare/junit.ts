/** A comparison as JUnit XML, which continuous integration shows as tests: one for each path and kind of finding.
 *
 * Follows: the form that Jenkins, GitLab and GitHub's actions read (testsuites, testsuite, testcase, failure).
 * Next: compare/sarif.ts. */
import { FINDING_KINDS, type Finding, KIND_MEANINGS, thousands } from './findings.ts';

export type Judged = { kernel: string; paths: readonly string[]; findings: readonly Finding[] };

export function junitXml({ kernel, paths, findings }: Judged): string {
  const cases: string[] = [];
  for (const finding of findings) {
    const name = attribute(`${finding.kind}: ${finding.subject}`);
    const where = attribute(`compare.${finding.paths.join('+')}`);
    cases.push(
      `    <testcase classname="${where}" name="${name}" time="0">\n` +
        `      <failure message="${attribute(finding.title)}" type="${attribute(finding.kind)}">${content(evidence(finding))}</failure>\n` +
        '    </testcase>',
    );
  }
  for (const via of paths) {
    for (const kind of FINDING_KINDS) {
      if (findings.some((finding) => finding.kind === kind && finding.paths.includes(via))) continue;
      const name = attribute(`${kind}: none. ${KIND_MEANINGS[kind]}`);
      cases.push(`    <testcase classname="${attribute(`compare.${via}`)}" name="${name}" time="0"/>`);
    }
  }
  const counts = `tests="${cases.length}" failures="${findings.length}"`;
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites ${counts}>`,
    `  <testsuite name="${attribute(`zeropage compare ${kernel}`)}" ${counts} errors="0" skipped="0" time="0">`,
    ...cases,
    '  </testsuite>',
    '</testsuites>',
    '',
  ].join('\n');
}

export function evidence({ title, why, evidence: lines }: Finding): string {
  const rows = lines.map(
    ({ path, text, at }) => `${path}: ${text}${at === undefined ? '' : `, after ${thousands(at)} instructions`}`,
  );
  return [title, ...(why === undefined ? [] : [why]), ...rows].join('\n');
}

/** XML 1.0 has no place for most control characters, escaped or not. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const FORBIDDEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ud800-\udfff\ufffe\uffff]/g;

const content = (text: string): string =>
  text.replace(FORBIDDEN, '\ufffd').replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

const attribute = (text: string): string =>
  content(text).replaceAll('"', '&quot;').replaceAll('\n', '&#10;').replaceAll('\t', '&#9;');

/** Our own format: the record itself, as `recordJson` prints it, in pieces.
 *
 * A trace with all events can be longer than the longest string of JavaScript, so files are written piece by piece; put
 * together the pieces are what recordJson gives. Everything that other tools cannot hold is in here: state at waypoints,
 * counts between them.   Next: trace/formats/perfetto.ts. */
import type { RunRecord } from '../run-record.ts';

export function* recordJsonPieces(record: RunRecord): Generator<string> {
  let before = '{\n';
  for (const [key, value] of Object.entries(record)) {
    if (value === undefined) continue;
    yield `${before}  ${JSON.stringify(key)}: `;
    before = ',\n';
    if (!Array.isArray(value)) yield JSON.stringify(value);
    else if (value.length === 0) yield '[]';
    else {
      for (let i = 0; i < value.length; i++) yield `${i === 0 ? '[' : ','}\n    ${JSON.stringify(value[i])}`;
      yield '\n  ]';
    }
  }
  yield '\n}\n';
}

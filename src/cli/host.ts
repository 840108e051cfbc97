/** What Node does for the rooms below: gunzip.
 *
 * The rooms ask for it through small interfaces (unpack/unpack.ts, HostUnpackers), so that they run where Node does not.
 * Next: cli/inspect.ts. */
import { gunzipSync } from 'node:zlib';
import type { HostUnpackers } from '../unpack/unpack.ts';

export const nodeUnpackers: HostUnpackers = {
  gunzip(bytes, maxOutput) {
    try {
      const out = gunzipSync(bytes, { maxOutputLength: Math.max(1, maxOutput) });
      return new Uint8Array(out.buffer, out.byteOffset, out.length);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      const why =
        code === 'ERR_BUFFER_TOO_LARGE' ? `it unpacks to more than ${maxOutput} bytes` : (error as Error).message;
      throw new Error(`gzip: ${why}`);
    }
  },
};

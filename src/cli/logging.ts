/** Logs: pino's JSON lines on standard error, in people's form when standard error is a terminal.
 *
 * Pino is loaded when the first line is written. A run that has nothing to say never pays for it: starting is a good
 * part of the time that a small guest takes.
 * May not: write to standard output, which belongs to the guest.   Next: cli/progress.ts. */
import { createRequire } from 'node:module';

export const LOG_LEVELS = ['silent', 'error', 'warn', 'info', 'debug', 'trace'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

type Fields = Record<string, unknown>;
type Write = (fields: Fields, message: string) => void;
export type Logger = { readonly [level in Exclude<LogLevel, 'silent'>]: Write } & { readonly level: LogLevel };

export type LoggingOptions = {
  /** Coloured lines for people instead of JSON. */
  pretty: boolean;
  /** File descriptor. */
  to?: number;
};

export function createLogger(level: LogLevel, { pretty, to = 2 }: LoggingOptions): Logger {
  let pino: Logger | undefined;
  const write = (at: Exclude<LogLevel, 'silent'>): Write => {
    if (LOG_LEVELS.indexOf(at) > LOG_LEVELS.indexOf(level)) return () => {};
    return (fields, message) => {
      pino ??= loadPino(level, pretty, to);
      pino[at](fields, message);
    };
  };
  return {
    level,
    error: write('error'),
    warn: write('warn'),
    info: write('info'),
    debug: write('debug'),
    trace: write('trace'),
  };
}

/** Synchronous in both senses: a log line stands between the console lines that it belongs between. */
function loadPino(level: LogLevel, pretty: boolean, to: number): Logger {
  const require = createRequire(import.meta.url);
  const pino = require('pino') as typeof import('pino').default;
  const options = { level, base: null };
  if (!pretty) return pino(options, pino.destination({ fd: to, sync: true })) as unknown as Logger;
  const prettyStream = require('pino-pretty') as typeof import('pino-pretty');
  const stream = prettyStream({ colorize: true, destination: to, sync: true, translateTime: 'SYS:HH:MM:ss.l' });
  return pino(options, stream) as unknown as Logger;
}

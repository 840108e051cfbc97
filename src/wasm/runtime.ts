/** The WebAssembly runtime as this project uses it: a memory, a module, an instance.
 *
 * TypeScript's declarations of it belong to the browser's library, which rooms below `cli` do not have; what is needed
 * is declared here.   Next: x86/isa/algebra.ts. */

export type WasmMemory = { readonly buffer: ArrayBuffer };
export type WasmInstance = { readonly exports: Record<string, unknown> };

type Runtime = {
  Memory: new (descriptor: { initial: number; maximum: number }) => WasmMemory;
  Module: new (bytes: Uint8Array<ArrayBuffer>) => object;
  Instance: new (module: object, imports: Record<string, Record<string, unknown>>) => WasmInstance;
};

const runtime = (globalThis as unknown as { WebAssembly: Runtime }).WebAssembly;

/** A memory of its final size, in pages of 64 KiB: growing would detach every view. */
export function createMemory(pages: number): WasmMemory {
  return new runtime.Memory({ initial: pages, maximum: pages });
}

/** Modules by the bytes they came from: a second machine of a process compiles nothing. */
const compiled = new WeakMap<Uint8Array, object>();

export function instantiate(
  bytes: Uint8Array<ArrayBuffer>,
  imports: Record<string, Record<string, unknown>>,
): WasmInstance {
  let module = compiled.get(bytes);
  if (module === undefined) {
    module = new runtime.Module(bytes);
    compiled.set(bytes, module);
  }
  return new runtime.Instance(module, imports);
}

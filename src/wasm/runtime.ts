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

export function instantiate(
  bytes: Uint8Array<ArrayBuffer>,
  imports: Record<string, Record<string, unknown>>,
): WasmInstance {
  return new runtime.Instance(new runtime.Module(bytes), imports);
}

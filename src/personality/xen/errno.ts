/** Xen's error numbers, and the value that ends a hypercall with one.
 *
 * A handler returns what goes into RAX: 0, a count, or an error's negative. Deep inside one (a guest pointer that leads
 * nowhere) it is simpler to throw a `Refused`; hypercalls.ts turns it into the return value.
 * Follows: xen/include/public/errno.h (the numbers equal Linux's for these).   Next: personality/xen/misc.ts. */

export const EPERM = 1;
export const ENOENT = 2;
export const ESRCH = 3;
export const E2BIG = 7;
export const EAGAIN = 11;
export const ENOMEM = 12;
export const EACCES = 13;
export const EFAULT = 14;
export const EBUSY = 16;
export const EEXIST = 17;
export const ENODEV = 19;
export const EINVAL = 22;
export const ENOSPC = 28;
export const ENOSYS = 38;
export const ENODATA = 61;
export const EOPNOTSUPP = 95;

/** Thrown inside a hypercall: it returns -errno. Not an Error: a guest makes it, and no stack is wanted. */
export class Refused {
  readonly errno: number;

  constructor(errno: number) {
    this.errno = errno;
  }
}

/* No code: names the kernel's types and variables to whoever looks into its memory from outside. The compiler turns what
 * these headers declare into a section .BTF, as stock kernels carry one. It is in the file and not in memory. */
#include "bootparam.h"
#include "hvm_start_info.h"
#include "kernel.h"
#include "multiboot.h"
#include "paravirt.h"
#include "processor.h"
#include "segment.h"
#ifdef CONFIG_X86_64
#include "xen/interface.h"
#else
#include "lguest.h"
#endif

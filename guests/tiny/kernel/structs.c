/* No code: holds every C struct that crosses the guest's boundary against zeropage's own table for it. The lines come
 * from tools/layout-asserts.ts. */
#include "bootparam.h"
#include "hvm_start_info.h"
#include "multiboot.h"
#ifdef CONFIG_X86_64
#include "xen/interface.h"
#else
#include "lguest.h"
#endif

#include "layout-asserts.h"

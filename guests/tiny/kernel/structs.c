/* No code: holds every C struct that crosses the guest's boundary against zeropage's own table for it. The lines come
 * from tools/layout-asserts.ts. */
#include "bootparam.h"
#include "hvm_start_info.h"
#include "multiboot.h"

#include "layout-asserts.h"

/* For assembly files: symbols with a type and a size, so that a trace can tell functions apart. */
#pragma once
#include "layout.h"
#include "segment.h"

#define FUNC(name) .globl name; .type name, @function; name:
#define END_FUNC(name) .size name, . - name
#define pa(symbol) ((symbol) - START_KERNEL_MAP) /* link-time physical address */

#pragma once
#include <isa-l.h>
#include <isa-l/crc.h>
#include <isa-l/igzip_lib.h>

/* Swift cannot import this macro, which is a product of other macros. */
static const unsigned int isal_level3_memory = ISAL_DEF_LVL3_DEFAULT;

#pragma once
#include <isa-l.h>
#include <isa-l/crc.h>
#include <isa-l/igzip_lib.h>

/* A product of macros, which Swift cannot read. */
static const unsigned int isal_level3_memory = ISAL_DEF_LVL3_DEFAULT;

#pragma once

/*
 * symbolizer makes the function table of a file, once per build-id, in a child process that has no
 * rights: no capabilities, no new files, no network (seccomp), bounded memory and CPU time. The file
 * belongs to whoever we profile; a child that dies means "no symbols", never a dead agent.
 *
 * Function tables come from .symtab and .dynsym (sizes respected) and, for Go, .gopclntab. Addresses
 * become offsets in the file through the PT_LOAD headers.
 */

#include <stdint.h>

#include "core/buf.h"

struct symbolizer_limits {
	uint64_t memory_bytes; /* address space of the child: 1 GiB */
	uint32_t cpu_s; /* 10 */
	uint64_t result_bytes; /* 64 MiB */
};

/*
 * Appends the encoding of profile/symbols.h. `fd` is a readable regular file (it is not closed).
 * -ENODATA: no function symbols. -ENOEXEC: not an ELF file. -ECHILD: the child died or broke a limit.
 * -ENOMEM, -E2BIG.
 */
int symbolizer_extract(int fd, struct symbolizer_limits limits, struct buf *to);

/* The same without a child, for the vdso image and for the child itself. Bytes are hostile. */
int elf_symbols_extract(const void *image, size_t bytes, struct buf *to);

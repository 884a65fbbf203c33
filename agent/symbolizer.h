#pragma once

/*
 * symbolizer makes the function table of a file, once per build-id, in a child process that has no
 * rights: no capabilities, no new files, no network (seccomp), bounded memory and CPU time. The
 * file belongs to whoever we profile; a child that dies means "no symbols", never a dead agent.
 *
 *	agent --file, pipe--> helper --fork per file--> child: map, lock itself in, read, write
 *
 * The helper is forked before the agent has threads, eBPF maps or anything worth stealing, and
 * gives up its rights at once; children are forked from it, so each starts from that clean state.
 *
 * Function tables come from .symtab and .dynsym (sizes respected). Addresses become offsets in the
 * file through the PT_LOAD headers.
 */

#include <stdint.h>

#include "core/buf.h"

struct symbolizer_limits {
	uint64_t memory_bytes; /* address space of the child beside the file: 1 GiB */
	uint32_t cpu_s;        /* 10 */
	uint64_t result_bytes; /* 64 MiB */
};

extern const struct symbolizer_limits symbolizer_limits_default;

/*
 * Forks the helper: first thing in main(), before any thread, capability or file that matters.
 * Without it, and when the helper was killed, symbolizer_extract() forks one itself. -EAGAIN,
 * -EMFILE, ...
 */
int symbolizer_start(void);

/* Ends the helper and waits for it. */
void symbolizer_stop(void);

/*
 * Appends the encoding of profile/symbols.h. `fd` is a readable regular file (it is not closed).
 * -ENODATA: no function symbols. -ENOEXEC: not an ELF file. -EINVAL: not a regular file. -ECHILD:
 * the child died or broke a limit. -E2BIG: the file or its table is past a limit. -ENOMEM. Waits
 * for the child, at most twice cpu_s. Any thread; one at a time.
 */
int symbolizer_extract(int fd, struct symbolizer_limits limits, struct buf *to);

/* The same without a child, for the vdso image and for the child itself. Bytes are hostile. */
int elf_symbols_extract(const void *image, size_t bytes, struct buf *to);

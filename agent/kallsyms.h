#pragma once

/*
 * kallsyms names kernel addresses: a sorted table of /proc/kallsyms, read once (and again when an
 * address falls outside what it knew, for modules and BPF programs loaded later).
 *
 * Without CAP_SYSLOG the kernel shows zeroes where kptr_restrict says so: kallsyms_has_addresses()
 * is false then, and every kernel frame is called "[kernel]".
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/auto.h"

struct kallsyms;

struct kernel_symbol {
	const char *name;   /* borrowed */
	const char *module; /* "vmlinux", or the module's name; borrowed */
};

/* `path` is /proc/kallsyms but for tests. -ENOENT, -EACCES, -ENOMEM, -EBADMSG. */
int kallsyms_load(const char *path, struct kallsyms **ret_kallsyms);
/* The same of a text that somebody read, which is not needed afterwards. -ENOMEM, -EBADMSG. */
int kallsyms_parse(const char *text, size_t count, struct kallsyms **ret_kallsyms);
void kallsyms_free(struct kallsyms *kallsyms);
DEFINE_AUTO(kallsyms);

bool kallsyms_has_addresses(const struct kallsyms *kallsyms);

/* The text symbol that holds the address; false when it lies in none. */
bool kallsyms_find(
        const struct kallsyms *kallsyms, uint64_t address, struct kernel_symbol *ret_symbol);

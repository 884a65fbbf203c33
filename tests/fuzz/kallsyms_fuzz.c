/* kallsyms: any bytes as /proc/kallsyms, and addresses at and around those that stand in them. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/kallsyms.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static void check_address(const struct kallsyms *kallsyms, uint64_t address)
{
	struct kernel_symbol symbol;

	if (!kallsyms_find(kallsyms, address, &symbol))
		return;
	if (!kallsyms_has_addresses(kallsyms) || symbol.name[0] == 0 || symbol.module[0] == 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	/* Exactly as long as the input. */
	char *text = malloc(count ? count : 1);
	char *copy = malloc(count + 1);
	struct kallsyms *kallsyms = NULL;

	if (text && copy) {
		memcpy(text, bytes, count);
		memcpy(copy, bytes, count);
		copy[count] = 0;
	}
	if (text && copy && kallsyms_parse(text, count, &kallsyms) == 0) {
		check_address(kallsyms, 0);
		check_address(kallsyms, UINT64_MAX);
		for (size_t at = 0; at < count; at += strcspn(copy + at, "\n") + 1) {
			uint64_t address = strtoull(copy + at, NULL, 16);
			check_address(kallsyms, address - 1);
			check_address(kallsyms, address);
			check_address(kallsyms, address + 1);
		}
	}
	kallsyms_free(kallsyms);
	free(copy);
	free(text);
	return 0;
}

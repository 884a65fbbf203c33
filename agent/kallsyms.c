/*
 * The file is one line per symbol, "ffffffff81000000 T _stext" or "... t
 * nft_do_chain\t[nf_tables]", nearly but not quite in order of address. It is read whole (100 ms,
 * most of it the kernel printing), then kept as:
 *
 *	entries  [ {address, name, module} ... ]   sorted by address, one per address
 *	names    every kept name end to end, zero-terminated
 *
 * The file has no sizes. A text symbol ends where the next symbol of any kind begins, so the first
 * data symbol after a run of text is kept as an entry without a name: an address behind it has no
 * name rather than a wrong one.
 */

#include "agent/kallsyms.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "core/buf.h"
#include "core/whole_file.h"

#define KALLSYMS_FILE_BYTES_MAX   (256u << 20)
#define KALLSYMS_SYMBOL_BYTES_MAX (1u << 20) /* the last symbol of a module has no true end */
#define KALLSYMS_MODULES_MAX      UINT16_MAX
#define KALLSYMS_NAMELESS         UINT32_MAX

struct kallsyms_entry {
	uint64_t address;
	uint32_t name;   /* offset in names, or KALLSYMS_NAMELESS */
	uint16_t module; /* index in modules */
	uint16_t rank;   /* which of several names of one address is shown: the greatest */
};

struct kallsyms {
	struct kallsyms_entry *entries;
	uint32_t entries_count;
	uint32_t entries_capacity;
	struct buf names;
	uint32_t *modules; /* offsets in names; 0 is "vmlinux" */
	uint32_t modules_count;
	bool has_addresses;
};

struct kallsyms_line {
	uint64_t address;
	char type;
	const char *name;
	size_t name_count;
	const char *module;
	size_t module_count;
};

static int kallsyms_read(const char *path, struct buf *to)
{
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	int result = whole_file_read(fd, KALLSYMS_FILE_BYTES_MAX, to);
	return result == -EFBIG ? -EBADMSG : result;
}

static bool kallsyms_parse_line(const char *at, const char *end, struct kallsyms_line *ret_line)
{
	struct kallsyms_line line = { 0 };
	const char *digits = at;

	for (; at < end && *at != ' '; at++) {
		unsigned int digit = (unsigned char)*at;

		if (digit >= '0' && digit <= '9')
			digit -= '0';
		else if (digit >= 'a' && digit <= 'f')
			digit -= 'a' - 10;
		else
			return false;
		line.address = line.address << 4 | digit;
	}
	if (at == digits || at - digits > 16 || end - at < 4 || at[2] != ' ')
		return false;

	line.type = at[1];
	line.name = at + 3;
	const char *tab = memchr(line.name, '\t', (size_t)(end - line.name));
	line.name_count = (size_t)((tab ? tab : end) - line.name);
	if (tab && end - tab > 3 && tab[1] == '[' && end[-1] == ']') {
		line.module = tab + 2;
		line.module_count = (size_t)(end - 1 - line.module);
	}
	/* Names are kept as texts that end with a zero. */
	if (line.name_count == 0 || memchr(line.name, 0, (size_t)(end - line.name)))
		return false;

	*ret_line = line;
	return true;
}

/* Returns the offset of the text in names. */
static uint32_t kallsyms_keep(struct kallsyms *kallsyms, const char *bytes, size_t count)
{
	uint32_t offset = (uint32_t)kallsyms->names.count;

	buf_put(&kallsyms->names, bytes, count);
	buf_put_u8(&kallsyms->names, 0);
	return offset;
}

/* The symbols of a module stand together, so the newest module is nearly always the one. */
static int kallsyms_module(
        struct kallsyms *kallsyms, const struct kallsyms_line *line, uint16_t *ret_index)
{
	if (!line->module) {
		*ret_index = 0;
		return 0;
	}
	for (uint32_t i = kallsyms->modules_count; i-- > 1;) {
		const char *known = (const char *)kallsyms->names.bytes + kallsyms->modules[i];

		if (strlen(known) == line->module_count &&
		        !memcmp(known, line->module, line->module_count)) {
			*ret_index = (uint16_t)i;
			return 0;
		}
	}
	if (kallsyms->modules_count == KALLSYMS_MODULES_MAX)
		return -EBADMSG;

	uint32_t *modules = reallocarray(
	        kallsyms->modules, kallsyms->modules_count + 1, sizeof(*modules));
	if (!modules)
		return -ENOMEM;
	kallsyms->modules = modules;
	modules[kallsyms->modules_count] = kallsyms_keep(
	        kallsyms, line->module, line->module_count);
	/* The name of a known module is compared with, so it must really be there. */
	if (kallsyms->names.failed)
		return -ENOMEM;
	*ret_index = (uint16_t)kallsyms->modules_count++;
	return 0;
}

static bool kallsyms_is_text(char type)
{
	return type == 't' || type == 'T' || type == 'w' || type == 'W';
}

/* Global before weak before local, then the name with fewer underscores in front. */
static uint16_t kallsyms_rank(const struct kallsyms_line *line)
{
	uint16_t underscores = 0;

	if (!kallsyms_is_text(line->type))
		return 0;
	while (underscores < line->name_count && underscores < 15 && line->name[underscores] == '_')
		underscores++;
	return (uint16_t)((line->type == 'T'          ? 48
	                          : line->type == 'W' ? 32
	                                              : 16) +
	                  15 - underscores);
}

static int kallsyms_append(struct kallsyms *kallsyms, const struct kallsyms_line *line)
{
	uint16_t module;
	int result = kallsyms_module(kallsyms, line, &module);

	if (result < 0)
		return result;
	if (kallsyms->entries_count == kallsyms->entries_capacity) {
		uint32_t capacity = kallsyms->entries_capacity ? kallsyms->entries_capacity * 2
		                                               : 1u << 17;
		struct kallsyms_entry *entries = reallocarray(
		        kallsyms->entries, capacity, sizeof(*entries));

		if (!entries)
			return -ENOMEM;
		kallsyms->entries = entries;
		kallsyms->entries_capacity = capacity;
	}

	kallsyms->entries[kallsyms->entries_count++] = (struct kallsyms_entry){
		.address = line->address,
		.name = kallsyms_is_text(line->type)
		                ? kallsyms_keep(kallsyms, line->name, line->name_count)
		                : KALLSYMS_NAMELESS,
		.module = module,
		.rank = kallsyms_rank(line),
	};
	return 0;
}

static int kallsyms_take_lines(struct kallsyms *kallsyms, const char *at, const char *end)
{
	uint32_t lines = 0;

	while (at < end) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));
		struct kallsyms_line line;

		if (!stop)
			stop = end;
		if (kallsyms_parse_line(at, stop, &line)) {
			lines++;
			/* Zero is a hidden address, or that of an absolute symbol: neither is code.
			 */
			if (line.address != 0) {
				int result = kallsyms_append(kallsyms, &line);
				if (result < 0)
					return result;
			}
		}
		at = stop + 1;
	}
	return lines == 0 ? -EBADMSG : kallsyms->names.failed ? -ENOMEM : 0;
}

static int kallsyms_compare(const void *a, const void *b)
{
	const struct kallsyms_entry *left = a;
	const struct kallsyms_entry *right = b;

	if (left->address != right->address)
		return left->address < right->address ? -1 : 1;
	if (left->rank != right->rank)
		return left->rank > right->rank ? -1 : 1;
	return left->name < right->name ? -1 : left->name > right->name;
}

/* Sorts, and keeps one entry per address and one nameless entry per run of data. */
static void kallsyms_settle(struct kallsyms *kallsyms)
{
	struct kallsyms_entry *entries = kallsyms->entries;
	uint32_t kept = 0;

	if (kallsyms->entries_count > 0)
		qsort(entries, kallsyms->entries_count, sizeof(*entries), kallsyms_compare);
	for (uint32_t i = 0; i < kallsyms->entries_count; i++) {
		if (kept > 0 && entries[kept - 1].address == entries[i].address)
			continue;
		if (kept > 0 && entries[kept - 1].name == KALLSYMS_NAMELESS &&
		        entries[i].name == KALLSYMS_NAMELESS)
			continue;
		entries[kept++] = entries[i];
		if (entries[i].name != KALLSYMS_NAMELESS)
			kallsyms->has_addresses = true;
	}
	kallsyms->entries_count = kept;

	struct kallsyms_entry *less = kept > 0 ? reallocarray(entries, kept, sizeof(*entries))
	                                       : NULL;
	if (less) {
		kallsyms->entries = less;
		kallsyms->entries_capacity = kept;
	}
}

int kallsyms_parse(const char *text, size_t count, struct kallsyms **ret_kallsyms)
{
	AUTO(kallsyms) kallsyms = calloc(1, sizeof(*kallsyms));

	if (!kallsyms)
		return -ENOMEM;
	kallsyms->modules = malloc(sizeof(*kallsyms->modules));
	if (!kallsyms->modules)
		return -ENOMEM;
	kallsyms->modules[kallsyms->modules_count++] = kallsyms_keep(
	        kallsyms, "vmlinux", strlen("vmlinux"));
	if (kallsyms->names.failed)
		return -ENOMEM;
	kallsyms->names.limit = KALLSYMS_FILE_BYTES_MAX;

	int result = kallsyms_take_lines(kallsyms, text, text + count);
	if (result < 0)
		return result;
	kallsyms_settle(kallsyms);

	*ret_kallsyms = TAKE(kallsyms);
	return 0;
}

int kallsyms_load(const char *path, struct kallsyms **ret_kallsyms)
{
	AUTO_BUF text = { 0 };
	int result = kallsyms_read(path, &text);

	return result < 0 ? result
	                  : kallsyms_parse((const char *)text.bytes, text.count, ret_kallsyms);
}

void kallsyms_free(struct kallsyms *kallsyms)
{
	if (!kallsyms)
		return;
	free(kallsyms->entries);
	free(kallsyms->modules);
	buf_fini(&kallsyms->names);
	free(kallsyms);
}

bool kallsyms_has_addresses(const struct kallsyms *kallsyms)
{
	return kallsyms->has_addresses;
}

bool kallsyms_find(
        const struct kallsyms *kallsyms, uint64_t address, struct kernel_symbol *ret_symbol)
{
	uint32_t low = 0;
	uint32_t high = kallsyms->entries_count;

	/* The first entry behind the address; the one before it holds it. */
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (kallsyms->entries[middle].address <= address)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0)
		return false;

	const struct kallsyms_entry *entry = &kallsyms->entries[low - 1];
	if (entry->name == KALLSYMS_NAMELESS ||
	        address - entry->address >= KALLSYMS_SYMBOL_BYTES_MAX)
		return false;

	const char *names = (const char *)kallsyms->names.bytes;
	*ret_symbol = (struct kernel_symbol){
		.name = names + entry->name,
		.module = names + kallsyms->modules[entry->module],
	};
	return true;
}

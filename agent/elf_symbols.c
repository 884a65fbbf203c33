/*
 * Reads the symbol tables of an ELF image by libelf, in memory that need not be friendly: libelf
 * checks offsets against the image's size, and what it says is checked again where it is used. Runs
 * in the symbolizer's child; only the vdso, which is the kernel's own, is read in the agent itself.
 *
 * .symtab goes first, because what it names wins over .dynsym. Within a table the names of one
 * address are ranked: global, weak, local, and each by fewer underscores in front, so that malloc()
 * is not called __libc_malloc.
 */

#include "agent/symbolizer.h"

#include <errno.h>
#include <gelf.h>
#include <libelf.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/auto.h"
#include "profile/symbols.h"

#define ELF_SYMBOLS_SEGMENTS_MAX 1024
#define ELF_SYMBOLS_TABLES_MAX   16 /* a file has two; sections beyond are noise */
#define ELF_SYMBOLS_UNDERSCORES  2  /* more are not told apart */
#define ELF_SYMBOLS_RANKS        (3 * (ELF_SYMBOLS_UNDERSCORES + 1))

struct elf_segment {
	uint64_t address;
	uint64_t offset;
	uint64_t bytes; /* in the file */
};

struct elf_image {
	Elf *elf;
	struct elf_segment *segments; /* executable PT_LOAD */
	uint32_t segments_count;
	struct symbols_builder *builder;
	uint64_t added;
};

static void elf_image_fini(struct elf_image *image)
{
	symbols_builder_free(image->builder);
	free(image->segments);
	elf_end(image->elf);
}

static int elf_image_read_segments(struct elf_image *image)
{
	size_t count;

	if (elf_getphdrnum(image->elf, &count) < 0)
		return -ENOEXEC;
	if (count > ELF_SYMBOLS_SEGMENTS_MAX)
		count = ELF_SYMBOLS_SEGMENTS_MAX;
	image->segments = calloc(count + 1, sizeof(*image->segments));
	if (!image->segments)
		return -ENOMEM;

	for (size_t i = 0; i < count; i++) {
		GElf_Phdr header;

		if (!gelf_getphdr(image->elf, (int)i, &header))
			break;
		if (header.p_type != PT_LOAD || !(header.p_flags & PF_X))
			continue;
		if (header.p_filesz > UINT64_MAX - header.p_vaddr ||
		        header.p_filesz > UINT64_MAX - header.p_offset)
			continue;
		image->segments[image->segments_count++] = (struct elf_segment){
			.address = header.p_vaddr,
			.offset = header.p_offset,
			.bytes = header.p_filesz,
		};
	}
	return 0;
}

/* Where the function lies in the file, and how much of it. */
static bool elf_image_place(const struct elf_image *image, const GElf_Sym *symbol,
        uint64_t *ret_offset, uint64_t *ret_bytes)
{
	for (uint32_t i = 0; i < image->segments_count; i++) {
		const struct elf_segment *segment = &image->segments[i];
		uint64_t into = symbol->st_value - segment->address;

		if (symbol->st_value < segment->address || into >= segment->bytes)
			continue;
		*ret_offset = segment->offset + into;
		*ret_bytes = symbol->st_size < segment->bytes - into ? symbol->st_size
		                                                     : segment->bytes - into;
		return true;
	}
	return false;
}

/* 0 to ELF_SYMBOLS_RANKS - 1; the lower is the better name. */
static uint32_t elf_symbol_rank(const GElf_Sym *symbol, const char *name)
{
	unsigned int binding = GELF_ST_BIND(symbol->st_info);
	uint32_t rank = binding == STB_GLOBAL ? 0 : binding == STB_WEAK ? 1 : 2;
	uint32_t underscores = 0;

	while (underscores < ELF_SYMBOLS_UNDERSCORES && name[underscores] == '_')
		underscores++;
	return rank * (ELF_SYMBOLS_UNDERSCORES + 1) + underscores;
}

static bool elf_symbol_is_function(const GElf_Sym *symbol)
{
	unsigned int type = GELF_ST_TYPE(symbol->st_info);

	/* Without a size nobody knows where it ends: unknown is better than wrong. */
	return (type == STT_FUNC || type == STT_GNU_IFUNC) && symbol->st_shndx != SHN_UNDEF &&
	       symbol->st_size > 0;
}

static int elf_image_add_symbol(
        struct elf_image *image, const Elf_Data *names, const GElf_Sym *symbol, uint32_t rank)
{
	uint64_t offset;
	uint64_t bytes;

	if (symbol->st_name >= names->d_size || !elf_image_place(image, symbol, &offset, &bytes))
		return 0;

	const char *name = (const char *)names->d_buf + symbol->st_name;
	size_t room = names->d_size - symbol->st_name;
	size_t count = strnlen(name, room);
	/* A name that runs to the end of its table is not one. */
	if (count == 0 || count == room || elf_symbol_rank(symbol, name) != rank)
		return 0;

	image->added++;
	return symbols_builder_add(image->builder, offset, bytes, name, count);
}

/* All symbols of one table, the best names first. */
static int elf_image_add_table(struct elf_image *image, Elf_Scn *section, const GElf_Shdr *header)
{
	Elf_Data *data = elf_getdata(section, NULL);
	Elf_Scn *names_section = elf_getscn(image->elf, header->sh_link);
	Elf_Data *names = names_section ? elf_getdata(names_section, NULL) : NULL;
	size_t symbol_bytes = gelf_fsize(image->elf, ELF_T_SYM, 1, EV_CURRENT);

	if (!data || !data->d_buf || !names || !names->d_buf || names->d_size == 0 ||
	        symbol_bytes == 0)
		return 0;

	size_t count = data->d_size / symbol_bytes;
	if (count > INT32_MAX)
		return -E2BIG;
	for (uint32_t rank = 0; rank < ELF_SYMBOLS_RANKS; rank++) {
		for (size_t i = 0; i < count; i++) {
			GElf_Sym symbol;

			if (!gelf_getsym(data, (int)i, &symbol))
				break;
			if (!elf_symbol_is_function(&symbol))
				continue;
			int result = elf_image_add_symbol(image, names, &symbol, rank);
			if (result < 0)
				return result == -ENOSPC ? -E2BIG : result;
		}
	}
	return 0;
}

static int elf_image_add_tables(struct elf_image *image, uint32_t type)
{
	Elf_Scn *section = NULL;
	uint32_t tables = 0;

	while ((section = elf_nextscn(image->elf, section)) && tables < ELF_SYMBOLS_TABLES_MAX) {
		GElf_Shdr header;

		if (!gelf_getshdr(section, &header) || header.sh_type != type)
			continue;
		int result = elf_image_add_table(image, section, &header);
		if (result < 0)
			return result;
		tables++;
	}
	return 0;
}

static int elf_image_extract(struct elf_image *image, struct buf *to)
{
	int result = elf_image_read_segments(image);

	if (result == 0)
		result = elf_image_add_tables(image, SHT_SYMTAB);
	if (result == 0)
		result = elf_image_add_tables(image, SHT_DYNSYM);
	if (result < 0)
		return result;
	if (image->added == 0)
		return -ENODATA;
	return symbols_builder_finish(image->builder, to);
}

int elf_symbols_extract(const void *image, size_t bytes, struct buf *to)
{
	struct elf_image opened = { 0 };
	int result;

	if (elf_version(EV_CURRENT) == EV_NONE)
		return -ENOEXEC;
	/* libelf would take a static library for an archive of files, and read into it. */
	if (bytes < EI_NIDENT || memcmp(image, ELFMAG, SELFMAG))
		return -ENOEXEC;

	/* libelf's interface is older than const; an image opened so is only read. */
	opened.elf = elf_memory((char *)image, bytes);
	if (!opened.elf || elf_kind(opened.elf) != ELF_K_ELF) {
		elf_end(opened.elf);
		return -ENOEXEC;
	}
	opened.builder = symbols_builder_new();
	result = opened.builder ? elf_image_extract(&opened, to) : -ENOMEM;
	elf_image_fini(&opened);
	return result;
}

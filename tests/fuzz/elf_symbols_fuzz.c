/*
 * elf_symbols: any bytes as an ELF file. libelf is not built with a sanitizer, so the image ends
 * where unmapped memory begins: a read behind it is seen all the same. What comes out must open.
 */

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "agent/symbolizer.h"
#include "profile/symbols.h"

#define PAGE_BYTES UINT64_C(4096)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	AUTO_BUF table = { .limit = 64 << 20 };
	AUTO(symbols) symbols = NULL;
	size_t pages = (count + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
	uint8_t *memory = mmap(NULL, pages + PAGE_BYTES, PROT_READ | PROT_WRITE,
	        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		abort();
	/* A mapped file starts at a page, so libelf may rely on alignment; its end we choose. */
	uint8_t *image = memory + (pages - count) / 8 * 8;
	if (count > 0)
		memcpy(image, bytes, count);
	/* Behind the last word of the file nothing but ones: a name that runs on would show. */
	memset(image + count, 0xff, (size_t)(memory + pages - image) - count);
	if (mprotect(memory, pages + PAGE_BYTES, PROT_READ) < 0 ||
	        mprotect(memory + pages, PAGE_BYTES, PROT_NONE) < 0)
		abort();

	if (elf_symbols_extract(image, count, &table) == 0) {
		if (symbols_open(table.bytes, table.count, &symbols) < 0)
			abort();
	} else if (table.count > 0) {
		abort();
	}
	munmap(memory, pages + PAGE_BYTES);
	return 0;
}

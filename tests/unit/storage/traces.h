#pragma once

/*
 * All values that a store has had, as bytes, and which of them are still somewhere in its files: in
 * its log or beside others, where nobody can read them by a key any more.
 */

#include <string.h>

#include "storage/kv.h"
#include "tests/lib/test.h"
#include "tests/unit/storage/raw_files.h"

#define TRACE_BYTES 24 /* less may be the same by chance */

/* Those families whose values are in files as they are. */
static const enum kv_family traces_families[] = { KV_BATCH, KV_DETAIL, KV_SUMS, KV_SUMS_HOUR,
	KV_SUMS_DAY };

/* A value that some key had. */
struct trace {
	enum kv_family family;
	struct buf bytes;
};

struct traces {
	struct trace all[512];
	size_t count;
};

static inline bool traces_has(const struct traces *traces, const void *bytes, size_t count)
{
	for (size_t i = 0; i < traces->count; i++)
		if (traces->all[i].bytes.count == count &&
		        memcmp(traces->all[i].bytes.bytes, bytes, count) == 0)
			return true;
	return false;
}

static inline void traces_add_family(struct traces *traces, struct kv *kv, enum kv_family family)
{
	AUTO(kv_iterator) it = kv_iterator_new(
	        kv, family, (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
	for (; kv_iterator_is_valid(it); kv_iterator_next(it)) {
		struct kv_bytes value = kv_iterator_value(it);
		if (value.count < TRACE_BYTES || traces_has(traces, value.bytes, value.count))
			continue;
		assert_true(traces->count < COUNT_OF(traces->all));
		struct trace *trace = &traces->all[traces->count++];
		trace->family = family;
		buf_put(&trace->bytes, value.bytes, value.count);
	}
	CHECK_OK(kv_iterator_result(it));
}

/* All values that are there now. The store may be open: whoever only reads sees it as it is. */
static inline void traces_add(struct traces *traces, const char *folder)
{
	AUTO(kv) kv = NULL;
	bool is_whole;
	char error[512] = "";
	struct kv_options options = { .path = folder, .memtables_bytes = 8 << 20 };
	int r = kv_open_reader(options, &kv, &is_whole, error, sizeof(error));
	if (r < 0)
		fail_msg("%s", error);
	for (size_t i = 0; i < COUNT_OF(traces_families); i++)
		traces_add_family(traces, kv, traces_families[i]);
}

static inline void traces_fini(struct traces *traces)
{
	for (size_t i = 0; i < traces->count; i++)
		buf_fini(&traces->all[i].bytes);
}

/* How many of a family that are not among `live` are in the files. */
static inline uint32_t traces_left(const struct traces *traces, const struct traces *live,
        enum kv_family family, const char *folder)
{
	AUTO_BUF files = { 0 };
	uint32_t left = 0;
	raw_files_read(folder, &files);
	for (size_t i = 0; i < traces->count; i++) {
		const struct buf *bytes = &traces->all[i].bytes;
		if (traces->all[i].family == family &&
		        !traces_has(live, bytes->bytes, bytes->count))
			left += raw_files_count(&files, bytes->bytes, bytes->count) > 0;
	}
	return left;
}

#pragma once

/* What tests of the database stand on: opened with little memory, and keys as text. */

#include <string.h>

#include "storage/kv.h"
#include "tests/lib/test.h"

static inline struct kv *kv_fixture_open(const char *path)
{
	struct kv *kv = NULL;
	char error[512] = "";
	struct kv_options options = { path, 1 << 20, 1 << 20 };
	if (kv_open(options, &kv, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	return kv;
}

static inline struct kv_bytes key_of(const char *text)
{
	return (struct kv_bytes){ text, strlen(text) };
}

/* Keys of a family in a database that nobody has open. */
static inline uint32_t kv_fixture_count(const char *path, enum kv_family family)
{
	struct kv *kv = kv_fixture_open(path);
	struct kv_iterator *it = kv_iterator_new(
	        kv, family, (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
	uint32_t count = 0;
	for (; kv_iterator_is_valid(it); kv_iterator_next(it))
		count++;
	CHECK_OK(kv_iterator_result(it));
	kv_iterator_free(it);
	kv_free(kv);
	return count;
}

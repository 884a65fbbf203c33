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

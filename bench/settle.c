/*
 * Brings the store of an aggregator that has stopped to where it would come by itself, and says
 * what its bytes are: what came late for a sealed window is sealed as it would be ten minutes
 * later, and with --roll hours and days that have ended by then are rolled up as well.
 *
 *	bench.settle DIR [--roll]
 *
 * One line per figure: name, bytes. "raw" are keys and values as the store gave them to RocksDB;
 * "file" is what lies on the disk, which is closed and flushed, its log counted.
 */

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/reader.h"
#include "profile/dict.h"
#include "storage/keys.h"
#include "storage/kv.h"
#include "storage/store.h"

#define PART_COUNT 256

static int settle(const char *path, bool is_to_roll)
{
	AUTO(store) store = NULL;
	char error[512] = "";
	/* late_ns of 0: nothing waits. */
	struct store_options options = { .path = path,
		.limits = dict_limits_default,
		.block_cache_bytes = 64u << 20,
		.symbols_cache_bytes = 1u << 20 };
	int r = store_open(options, &store, error, sizeof(error));
	if (r < 0) {
		fprintf(stderr, "settle: %s: %s\n", path, error);
		return r;
	}
	r = store_seal(store, UINT64_MAX);
	if (r == 0 && is_to_roll)
		r = store_roll(store, UINT64_MAX);
	if (r < 0)
		fprintf(stderr, "settle: %s: %s\n", path, strerror(-r));
	return r;
}

/* Of blocks by their kind, of others under the name of their family alone. */
static int say_family(struct kv *kv, enum kv_family family)
{
	uint64_t bytes[PART_COUNT] = { 0 };
	uint64_t counts[PART_COUNT] = { 0 };
	bool has_parts = family == KV_SUMS || family == KV_DETAIL || family == KV_SUMS_HOUR ||
	                 family == KV_SUMS_DAY;
	AUTO(kv_iterator)
	it = kv_iterator_new(kv, family, (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
	if (!it)
		return -ENOMEM;
	for (; kv_iterator_is_valid(it); kv_iterator_next(it)) {
		struct kv_bytes key = kv_iterator_key(it);
		struct key_block block;
		uint8_t part = 0;
		if (has_parts && keys_get_block(key.bytes, key.count, &block) == 0)
			part = (uint8_t)block.part;
		bytes[part] += key.count + kv_iterator_value(it).count;
		counts[part]++;
	}
	for (unsigned int part = 0; part < PART_COUNT; part++) {
		char name[4] = { part ? '_' : '\0', (char)part, '\0' };
		if (counts[part] == 0)
			continue;
		printf("raw_%s%s %" PRIu64 "\n", kv_family_name(family), name, bytes[part]);
		printf("count_%s%s %" PRIu64 "\n", kv_family_name(family), name, counts[part]);
	}
	printf("file_%s %" PRIu64 "\n", kv_family_name(family), kv_files_disk_bytes(kv, family));
	return kv_iterator_result(it);
}

static int say_families(const char *path)
{
	AUTO(kv) kv = NULL;
	char error[512] = "";
	bool is_whole;
	struct kv_options options = {
		.path = path, .block_cache_bytes = 8u << 20, .memtables_bytes = 8u << 20
	};
	int r = kv_open_reader(options, &kv, &is_whole, error, sizeof(error));
	for (int family = 0; family < KV_FAMILIES && r == 0; family++)
		r = say_family(kv, (enum kv_family)family);
	if (r < 0)
		fprintf(stderr, "settle: %s: %s\n", path, error[0] ? error : strerror(-r));
	return r;
}

static bool ends_in(const char *text, const char *end)
{
	size_t count = strlen(text);
	size_t end_count = strlen(end);
	return count >= end_count && strcmp(text + count - end_count, end) == 0;
}

static int say_files(const char *path)
{
	uint64_t tables = 0, logs = 0, manifests = 0, others = 0;
	DIR *folder = opendir(path);
	if (!folder)
		return -errno;
	for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
		struct stat about;
		if (fstatat(dirfd(folder), entry->d_name, &about, 0) < 0 || !S_ISREG(about.st_mode))
			continue;
		uint64_t bytes = (uint64_t)about.st_size;
		if (ends_in(entry->d_name, ".sst"))
			tables += bytes;
		else if (ends_in(entry->d_name, ".log"))
			logs += bytes;
		else if (strncmp(entry->d_name, "MANIFEST", 8) == 0)
			manifests += bytes;
		else
			others += bytes;
	}
	(void)closedir(folder);
	printf("disk_tables %" PRIu64 "\ndisk_log %" PRIu64 "\ndisk_manifest %" PRIu64
	       "\ndisk_others %" PRIu64 "\ndisk %" PRIu64 "\n",
	        tables, logs, manifests, others, tables + logs + manifests + others);
	return 0;
}

int main(int argc, char **argv)
{
	bool is_to_roll = argc == 3 && strcmp(argv[2], "--roll") == 0;
	if (argc < 2 || argc > 3 || (argc == 3 && !is_to_roll)) {
		fprintf(stderr, "usage: bench.settle DIR [--roll]\n");
		return 2;
	}
	int r = settle(argv[1], is_to_roll);
	r = r < 0 ? r : say_families(argv[1]);
	r = r < 0 ? r : say_files(argv[1]);
	return r < 0;
}

/*
 * The side that is left: a folder in memory, and what of a journal reached it. The journal is gone
 * through twice: first each record finds its nodes (inode numbers may be used again, so that goes
 * by time) and it is counted which are before the last sync of their node; then those are carried
 * out, and of the others as many as the seed says.
 */

#include "tests/crash/power.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/test.h"

#define POWER_PATH_BYTES 4096
#define POWER_NONE       UINT32_MAX
/* Names of RocksDB's manifests begin so: power.h says what is special about them. */
#define POWER_ORDERED "MANIFEST-"

struct power_entry {
	char *name;
	uint32_t node;
};

struct power_node {
	uint64_t inode;
	bool is_folder;
	uint8_t *bytes;
	uint64_t count;
	struct power_entry *entries;
	uint32_t entries_count;
	char *path; /* where it was written: other names are links to it */

	/* Of its records in the journal. */
	uint64_t changes;
	uint64_t changes_synced;
	uint64_t changes_kept;
	uint64_t changes_done;
	bool is_torn;
	bool is_scattered; /* of those behind changes_kept, any may be there */
	bool is_ordered;   /* what was written reaches the disk in order: POWER_ORDERED */
};

/* A record with its nodes. */
struct power_step {
	const struct power_record *record;
	const uint8_t *bytes;
	uint32_t node;
	uint32_t target;
};

struct power_disk {
	char folder[POWER_PATH_BYTES];
	struct power_node *nodes; /* the first is the folder */
	uint32_t nodes_count;
	uint8_t *journal;
	uint64_t journal_bytes;
	struct power_step *steps;
	uint64_t steps_count;
};

static void *power_grow(void *items, uint64_t count, size_t item_bytes)
{
	if (count & (count - 1))
		return items; /* doubled at each power of two */
	void *grown = realloc(items, (count ? count * 2 : 1) * item_bytes);
	assert_non_null(grown);
	return grown;
}

/* ---- nodes ---- */

static uint32_t disk_add_node(struct power_disk *disk, uint64_t inode, bool is_folder)
{
	disk->nodes = power_grow(disk->nodes, disk->nodes_count, sizeof(*disk->nodes));
	disk->nodes[disk->nodes_count] = (struct power_node){ .inode = inode,
		.is_folder = is_folder };
	return disk->nodes_count++;
}

/* The newest with that number. */
static uint32_t disk_find_node(const struct power_disk *disk, uint64_t inode)
{
	for (uint32_t i = disk->nodes_count; i-- > 0;)
		if (disk->nodes[i].inode == inode)
			return i;
	return POWER_NONE;
}

static void node_resize(struct power_node *node, uint64_t count)
{
	node->bytes = realloc(node->bytes, count + 1);
	assert_non_null(node->bytes);
	if (count > node->count)
		memset(node->bytes + node->count, 0, count - node->count);
	node->count = count;
}

static void node_write(struct power_node *node, uint64_t at, const uint8_t *bytes, uint64_t count)
{
	if (at + count > node->count)
		node_resize(node, at + count);
	if (count > 0)
		memcpy(node->bytes + at, bytes, count);
}

static uint32_t node_unname(struct power_node *node, const char *name)
{
	for (uint32_t i = 0; i < node->entries_count; i++) {
		if (strcmp(node->entries[i].name, name) != 0)
			continue;
		uint32_t target = node->entries[i].node;
		free(node->entries[i].name);
		/* In place of the last, so that room needs no count of its own. */
		node->entries[i] = node->entries[--node->entries_count];
		return target;
	}
	return POWER_NONE;
}

static void node_name(struct power_node *node, const char *name, uint32_t target)
{
	(void)node_unname(node, name);
	struct power_entry *entries = realloc(
	        node->entries, (node->entries_count + 1) * sizeof(*entries));
	assert_non_null(entries);
	node->entries = entries;
	entries[node->entries_count] = (struct power_entry){ strdup(name), target };
	assert_non_null(entries[node->entries_count++].name);
}

/* ---- from the folder and to it ---- */

static uint8_t *disk_read(const char *path, uint64_t *ret_count)
{
	struct stat status;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &status) < 0)
		fail_msg("%s cannot be read", path);
	uint8_t *bytes = malloc((size_t)status.st_size + 1);
	assert_non_null(bytes);
	*ret_count = (uint64_t)status.st_size;
	for (uint64_t at = 0; at < *ret_count;) {
		ssize_t count = pread(fd, bytes + at, *ret_count - at, (off_t)at);
		CHECK(count > 0);
		at += (uint64_t)count;
	}
	close(fd);
	return bytes;
}

static void disk_load_node(struct power_disk *disk, uint32_t at, const char *path)
{
	char inner[POWER_PATH_BYTES];
	if (!disk->nodes[at].is_folder) {
		disk->nodes[at].bytes = disk_read(path, &disk->nodes[at].count);
		return;
	}
	DIR *folder = opendir(path);
	assert_non_null(folder);
	for (struct dirent *entry; (entry = readdir(folder));) {
		struct stat status;
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		CHECK(snprintf(inner, sizeof(inner), "%s/%s", path, entry->d_name) <
		        (int)sizeof(inner));
		CHECK_OK(lstat(inner, &status));
		uint32_t target = disk_find_node(disk, status.st_ino);
		if (target == POWER_NONE) {
			target = disk_add_node(disk, status.st_ino, S_ISDIR(status.st_mode));
			disk_load_node(disk, target, inner);
		}
		node_name(&disk->nodes[at], entry->d_name, target);
	}
	closedir(folder);
}

struct power_disk *power_disk_load(const char *folder)
{
	struct power_disk *disk = calloc(1, sizeof(*disk));
	struct stat status;
	assert_non_null(disk);
	snprintf(disk->folder, sizeof(disk->folder), "%s", folder);
	CHECK_OK(stat(folder, &status));
	(void)disk_add_node(disk, status.st_ino, true);
	disk_load_node(disk, 0, folder);
	return disk;
}

static void disk_empty(const char *path)
{
	char inner[POWER_PATH_BYTES];
	DIR *folder = opendir(path);
	assert_non_null(folder);
	for (struct dirent *entry; (entry = readdir(folder));) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		CHECK(snprintf(inner, sizeof(inner), "%s/%s", path, entry->d_name) <
		        (int)sizeof(inner));
		if (unlink(inner) == 0)
			continue;
		disk_empty(inner);
		CHECK_OK(rmdir(inner));
	}
	closedir(folder);
}

static void disk_store_node(struct power_disk *disk, uint32_t at, const char *path)
{
	char inner[POWER_PATH_BYTES];
	struct power_node *node = &disk->nodes[at];
	if (node->path) {
		CHECK_OK(link(node->path, path));
		return;
	}
	node->path = strdup(path);
	assert_non_null(node->path);
	if (!node->is_folder) {
		test_file_write(path, node->bytes ? (const void *)node->bytes : "", node->count);
		return;
	}
	if (at > 0)
		CHECK_OK(mkdir(path, 0750));
	for (uint32_t i = 0; i < node->entries_count; i++) {
		CHECK(snprintf(inner, sizeof(inner), "%s/%s", path, node->entries[i].name) <
		        (int)sizeof(inner));
		disk_store_node(disk, node->entries[i].node, inner);
	}
}

static void disk_free(struct power_disk *disk)
{
	for (uint32_t i = 0; i < disk->nodes_count; i++) {
		struct power_node *node = &disk->nodes[i];
		for (uint32_t j = 0; j < node->entries_count; j++)
			free(node->entries[j].name);
		free(node->entries);
		free(node->bytes);
		free(node->path);
	}
	free(disk->nodes);
	free(disk->journal);
	free(disk->steps);
	free(disk);
}

/* ---- the journal ---- */

/* The last record may be cut by the kill: its call then never was. */
static void disk_read_steps(struct power_disk *disk)
{
	for (uint64_t at = 0; disk->journal_bytes - at >= sizeof(struct power_record);) {
		const struct power_record *record =
		        (const struct power_record *)(const void *)(disk->journal + at);
		at += sizeof(*record);
		uint64_t padded = (record->count + 7) / 8 * 8; /* read where they lie */
		if (disk->journal_bytes - at < padded)
			break;
		disk->steps = power_grow(disk->steps, disk->steps_count, sizeof(*disk->steps));
		disk->steps[disk->steps_count++] = (struct power_step){ record, disk->journal + at,
			POWER_NONE, POWER_NONE };
		at += padded;
	}
}

static void disk_find_nodes(struct power_disk *disk, struct power_loss *loss)
{
	for (uint64_t i = 0; i < disk->steps_count; i++) {
		struct power_step *step = &disk->steps[i];
		const struct power_record *record = step->record;
		loss->said += record->kind == POWER_SAID;
		if (record->kind == POWER_SAID)
			continue;
		step->node = disk_find_node(disk, record->node);
		if (step->node == POWER_NONE)
			continue; /* elsewhere */
		if (record->kind == POWER_NAME)
			step->target = record->is_new ? disk_add_node(disk, record->target,
			                                        record->is_folder)
			                              : disk_find_node(disk, record->target);
		if (step->target != POWER_NONE && strncmp((const char *)step->bytes, POWER_ORDERED,
		                                          strlen(POWER_ORDERED)) == 0)
			disk->nodes[step->target].is_ordered = true;
		struct power_node *node = &disk->nodes[step->node];
		if (record->kind == POWER_SYNC)
			node->changes_synced = node->changes;
		else
			node->changes++;
	}
}

/* Of what a node was not synced for: nothing, all, the first so many, or any. */
enum { KEEP_NOTHING, KEEP_ALL, KEEP_FIRST, KEEP_FIRST_TORN, KEEP_ANY, KEEP_ANY_TORN, KEEP_WAYS };

static void disk_choose(struct power_disk *disk, struct rng *rng)
{
	/* Everything that was not synced, or of each node what the seed says. */
	bool is_all = rng_below(rng, 4) == 0;
	for (uint32_t i = 0; i < disk->nodes_count; i++) {
		struct power_node *node = &disk->nodes[i];
		uint64_t open = node->changes - node->changes_synced;
		uint64_t ways = node->is_ordered ? KEEP_ANY : KEEP_WAYS;
		uint64_t how = is_all ? KEEP_NOTHING : rng_below(rng, ways);
		node->changes_kept = node->changes_synced;
		if (how == KEEP_ALL)
			node->changes_kept += open;
		else if (how == KEEP_FIRST || how == KEEP_FIRST_TORN)
			node->changes_kept += rng_below(rng, open + 1);
		node->is_torn = how == KEEP_FIRST_TORN || how == KEEP_ANY_TORN;
		node->is_scattered = how == KEEP_ANY || how == KEEP_ANY_TORN;
	}
}

static void disk_do(struct power_disk *disk, const struct power_step *step)
{
	struct power_node *node = &disk->nodes[step->node];
	const char *name = (const char *)step->bytes;
	switch ((enum power_kind)step->record->kind) {
	case POWER_WRITE:
		node_write(node, step->record->at, step->bytes, step->record->count);
		break;
	case POWER_SIZE:
		node_resize(node, step->record->at);
		break;
	case POWER_NAME:
		node_name(node, name, step->target);
		break;
	case POWER_UNNAME:
		(void)node_unname(node, name);
		break;
	case POWER_RENAME: {
		uint32_t target = node_unname(node, name);
		if (target != POWER_NONE)
			node_name(node, name + strlen(name) + 1, target);
		break;
	}
	case POWER_SYNC:
	case POWER_SAID:
		break;
	}
}

/* Has the next change of this node reached the disk? */
static bool disk_is_kept(struct power_node *node, struct rng *rng, struct power_loss *loss)
{
	uint64_t nth = node->changes_done++;
	if (nth < node->changes_kept)
		return true;
	if (node->is_scattered && rng_below(rng, 2)) {
		loss->scattered++;
		return true;
	}
	loss->changes++;
	return false;
}

/* Did a part of it? Of a write that is not kept: the first of them, or any. */
static bool disk_is_torn(
        const struct power_node *node, const struct power_step *step, struct rng *rng)
{
	if (!node->is_torn || step->record->kind != POWER_WRITE)
		return false;
	return node->is_scattered ? rng_below(rng, 4) == 0
	                          : node->changes_done == node->changes_kept + 1;
}

static void disk_do_steps(struct power_disk *disk, struct rng *rng, struct power_loss *loss)
{
	for (uint64_t i = 0; i < disk->steps_count; i++) {
		const struct power_step *step = &disk->steps[i];
		if (step->node == POWER_NONE || step->record->kind == POWER_SYNC ||
		        (step->record->kind == POWER_NAME && step->target == POWER_NONE))
			continue;
		struct power_node *node = &disk->nodes[step->node];
		if (disk_is_kept(node, rng, loss)) {
			disk_do(disk, step);
		} else if (disk_is_torn(node, step, rng)) {
			node_write(node, step->record->at, step->bytes,
			        rng_below(rng, step->record->count));
			loss->torn++;
		}
	}
}

void power_disk_lose(
        struct power_disk *disk, const char *journal, struct rng *rng, struct power_loss *ret_loss)
{
	struct power_loss loss = { 0 };
	if (access(journal, F_OK) == 0) {
		disk->journal = disk_read(journal, &disk->journal_bytes);
		CHECK_OK(unlink(journal));
	}
	disk_read_steps(disk);
	/* Acknowledgements wait for one another: a kill is mostly behind one, a loss is anywhere.
	 */
	if (disk->steps_count > 0 && rng_below(rng, 4) > 0)
		disk->steps_count = rng_below(rng, disk->steps_count + 1);
	disk_find_nodes(disk, &loss);
	disk_choose(disk, rng);
	disk_do_steps(disk, rng, &loss);
	disk_empty(disk->folder);
	disk_store_node(disk, 0, disk->folder);
	disk_free(disk);
	*ret_loss = loss;
}

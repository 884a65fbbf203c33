#pragma once

/*
 * The life of a store that ends in the middle, and the check of what it left. A process appends,
 * begins dictionaries, seals, rolls up, hides, erases, is backed up, flushes and opens until it is
 * killed; then what was acknowledged is there, once, with exactly its content; what was not is
 * there once or not at all; counters agree with the rows; a section that is sent again is a DUP
 * where it is there; verifying finds no damage; a backup that is there is whole, and one that was
 * told of is there; a run of expiry that was told to have ended does not come back.
 *
 * The program runs itself as the process to be killed (RocksDB's threads do not survive a fork).
 * What a section holds follows from its stream and seq alone, so both sides know it. The parent
 * counts acknowledgements from a pipe and kills after a number that the seed gives. A test that
 * includes this says what else happens to the folder: struct world_events.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/rng.h"
#include "storage/store_backup.h"
#include "storage/store_expire.h"
#include "storage/store_verify.h"
#include "tests/unit/storage/store_fixture.h"

#define STREAMS      4
#define SEQS_MAX     65536
#define FUNCTIONS    2000
#define GROUP_MAX    6
#define ACKS_MAX     150
#define FLUSH_EVERY  41
#define SEAL_EVERY   7
#define ROLL_EVERY   9
#define HIDE_EVERY   11
#define BACKUP_EVERY 8
#define WINDOW_S     16 /* a few sections of each stream */

extern char **environ;

/* What goes through the pipe. */
struct ack {
	uint32_t stream;
	uint32_t seq;
	uint32_t status;
};

/* The last two tell of a backup by its number, and of a run by the low half of its id. */
enum { ACK_OPENING = 1000, ACK_OPENED, ACK_BACKUP, ACK_ENDED };

/* What a section must hold. */
struct content {
	uint64_t samples;
	uint64_t weighed; /* values times the number of their function */
};

static struct rng content_rng(uint32_t stream, uint32_t seq)
{
	struct rng rng;
	rng_init(&rng, (uint64_t)stream << 32 | seq);
	return rng;
}

static uint64_t content_start(uint32_t stream, uint32_t seq)
{
	return (1000 + (uint64_t)seq * STREAMS + stream) * SECOND;
}

static struct content content_of(uint32_t stream, uint32_t seq)
{
	struct rng rng = content_rng(stream, seq);
	struct content content = { 0 };
	uint64_t rows = 1 + rng_below(&rng, 40);
	for (uint64_t i = 0; i < rows; i++) {
		uint64_t function = rng_below(&rng, FUNCTIONS);
		uint64_t value = 1 + rng_below(&rng, 100);
		content.samples += value;
		content.weighed += value * function;
	}
	return content;
}

static void content_fill(struct source *source, uint32_t series, uint32_t stream, uint32_t seq)
{
	struct rng rng = content_rng(stream, seq);
	uint64_t rows = 1 + rng_below(&rng, 40);
	source_begin(source, content_start(stream, seq), SECOND);
	for (uint64_t i = 0; i < rows; i++) {
		char name[32];
		snprintf(name, sizeof(name), "%u", (unsigned int)rng_below(&rng, FUNCTIONS));
		uint64_t value = 1 + rng_below(&rng, 100);
		CHECK_OK(batch_add_row(source->batch, series, source_stack(source, name), value));
	}
}

/* In the folder are the store and its backups. With windows so short that seals are under way most
 * of the time. */
static struct store *open_store(const char *folder)
{
	char path[400];
	snprintf(path, sizeof(path), "%s/store", folder);
	struct store_options options = store_fixture_options(path);
	options.window_ns = WINDOW_S * SECOND;
	options.seal_rows_max = 200;
	options.roll_ns[0] = 4 * options.window_ns;
	options.roll_ns[1] = 2 * options.roll_ns[0];
	options.roll_stacks_max = 500;
	options.generation_nodes = 1500;
	options.collapse_after_ns = 1;
	return store_fixture_open_with(options);
}

/* ---- the process that is killed ---- */

#define HIDDEN_MAX 8

static void say(uint32_t stream, uint32_t seq, uint32_t status)
{
	struct ack ack = { stream, seq, status };
	if (write(STDOUT_FILENO, &ack, sizeof(ack)) != sizeof(ack))
		exit(1);
}

struct hiding {
	uint32_t level;
	struct store_expire_item items[HIDDEN_MAX];
	uint32_t count;
};

static int hide_visit(void *owner, const struct store_inventory_unit *unit)
{
	struct hiding *hiding = owner;
	if (unit->is_open || unit->window.level != hiding->level || hiding->count == HIDDEN_MAX)
		return 0;
	hiding->items[hiding->count++] = (struct store_expire_item){
		.window = unit->window,
		.unit = STORE_UNIT_NONE,
		.parts = STORE_PART_ALL,
	};
	return 0;
}

/*
 * Some windows are hidden, and come back. Of rollups, which say nothing that windows below do not,
 * they are erased, and made anew by the next roll.
 */
static int hide_some(struct store *store, uint32_t level, uint64_t run_id)
{
	struct hiding hiding = { .level = level };
	struct store_run run = { .id = run_id, .hidden_ns = 1, .erase_ns = 2 };
	struct store_expired expired;
	struct store_inventory_options options = { 0 };
	int r = store_inventory(store, options, hide_visit, &hiding);
	if (r < 0 || hiding.count == 0)
		return r;
	r = store_hide(store, &run, hiding.items, hiding.count, &expired);
	if (r < 0)
		return r;
	r = level > 0 ? store_erase(store, run_id, NULL, &expired)
	              : store_undo(store, run_id, &expired);
	if (r == 0)
		say(0, (uint32_t)run_id, ACK_ENDED);
	return r == -ENOENT ? 0 : r; /* nothing was to be hidden: there is no run */
}

static int back_up(struct store *store, const char *beside, uint32_t number)
{
	char folder[400];
	char name[32];
	char error[512] = "";
	AUTO_BACKUP_MANIFEST manifest = { .files = NULL };
	snprintf(folder, sizeof(folder), "%s/backups", beside);
	snprintf(name, sizeof(name), "b%u", number);
	struct store_backup_options options = { .folder = folder, .name = name };
	int r = store_backup_create(store, options, &manifest, error, sizeof(error));
	if (r == 0)
		say(0, number, ACK_BACKUP);
	return r == -EEXIST ? 0 : r; /* of an earlier life */
}

/* argv: program, folder, seed, the next seq of each stream. */
static int append_until_killed(char **argv)
{
	struct source sources[GROUP_MAX];
	uint32_t next[STREAMS];
	struct rng rng;

	rng_init(&rng, strtoull(argv[2], NULL, 10));
	for (uint32_t i = 0; i < STREAMS; i++)
		next[i] = (uint32_t)strtoul(argv[3 + i], NULL, 10);
	say(0, 0, ACK_OPENING);
	struct store *store = open_store(argv[1]);
	say(0, 0, ACK_OPENED);
	for (uint32_t i = 0; i < GROUP_MAX; i++)
		sources[i] = source_new(store, 1);

	for (uint32_t groups = 1;; groups++) {
		struct store_append appends[GROUP_MAX];
		uint32_t count = 1 + (uint32_t)rng_below(&rng, GROUP_MAX);
		for (uint32_t i = 0; i < count; i++) {
			uint32_t stream = (uint32_t)rng_below(&rng, STREAMS);
			uint32_t seq = next[stream]++;
			/* Now and then one comes again that was acknowledged, or is in this group.
			 */
			if (seq > 1 && rng_below(&rng, 8) == 0)
				seq = --next[stream] - (uint32_t)rng_below(&rng, 2);
			seq = seq ? seq : 1;
			content_fill(&sources[i], source_series(&sources[i], "cart", "a", 1),
			        stream, seq);
			sources[i].stream.shard = (uint16_t)stream;
			appends[i] = source_section(&sources[i], seq);
		}
		if (store_append(store, appends, count) < 0)
			return 1;
		for (uint32_t i = 0; i < count; i++)
			say(appends[i].stream.shard, (uint32_t)appends[i].stream.seq,
			        appends[i].ret_status);
		if (groups % FLUSH_EVERY == 0 && store_flush(store) < 0)
			return 1;
		/* Everything, or all but the newest: then some comes late. */
		uint64_t until = rng_below(&rng, 2) ? UINT64_MAX : content_start(0, next[0]);
		if (groups % SEAL_EVERY == 0 &&
		        (store_seal(store, until) < 0 || store_collect(store) < 0))
			return 1;
		if (groups % ROLL_EVERY == 0 && store_roll(store, until) < 0)
			return 1;
		if (groups % HIDE_EVERY == 0 &&
		        hide_some(store, groups / HIDE_EVERY % 3, rng_u64(&rng) >> 1) < 0)
			return 1;
		if (groups % BACKUP_EVERY == 0 && back_up(store, argv[1], groups) < 0)
			return 1;
	}
}

/* ---- the one who kills and checks ---- */

struct world;

/* What a test does to the folder beside killing who writes there; each may be NULL. */
struct world_events {
	void (*before_life)(struct world *world);
	/* May say that fewer messages were sent: world->acks_count. */
	void (*after_kill)(struct world *world);
};

#define TOLD_MAX     64 /* of backups, of runs: in one life */
#define MESSAGES_MAX 4096

struct world {
	struct test_dir *dir;
	const struct world_events *events;
	void *owner; /* of the events */
	struct rng rng;
	bool acked[STREAMS][SEQS_MAX];
	uint32_t next[STREAMS];
	uint8_t seen[STREAMS][SEQS_MAX]; /* how often the scan told of it */
	uint64_t batches;
	uint64_t samples;
	uint64_t rollups_max;
	uint64_t backups; /* that were there after a kill, whole */

	/* Of the last life. */
	struct ack acks[MESSAGES_MAX];
	uint32_t acks_count;
	uint32_t told_backups[TOLD_MAX];
	uint32_t told_backups_count;
	uint32_t ended_runs[TOLD_MAX];
	uint32_t ended_runs_count;
};

static pid_t world_spawn(struct world *world, int *ret_pipe)
{
	char seed[32];
	char next[STREAMS][16];
	const char *arguments[3 + STREAMS + 1] = { "/proc/self/exe", world->dir->path, seed };
	int ends[2];
	pid_t child;
	posix_spawn_file_actions_t actions;

	snprintf(seed, sizeof(seed), "%" PRIu64, rng_u64(&world->rng) >> 1);
	for (uint32_t i = 0; i < STREAMS; i++) {
		snprintf(next[i], sizeof(next[i]), "%u", world->next[i]);
		arguments[3 + i] = next[i];
	}
	CHECK_OK(pipe2(ends, O_CLOEXEC));
	CHECK_OK(posix_spawn_file_actions_init(&actions));
	CHECK_OK(posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO));
	CHECK_OK(posix_spawn(
	        &child, arguments[0], &actions, NULL, (char *const *)arguments, environ));
	CHECK_OK(posix_spawn_file_actions_destroy(&actions));
	close(ends[1]);
	*ret_pipe = ends[0];
	return child;
}

static void world_note(struct world *world, const struct ack *ack)
{
	if (ack->status == ACK_OPENING || ack->status == ACK_OPENED)
		return;
	if (ack->status == ACK_BACKUP) {
		CHECK(world->told_backups_count < TOLD_MAX);
		world->told_backups[world->told_backups_count++] = ack->seq;
		return;
	}
	if (ack->status == ACK_ENDED) {
		CHECK(world->ended_runs_count < TOLD_MAX);
		world->ended_runs[world->ended_runs_count++] = ack->seq;
		return;
	}
	CHECK(ack->stream < STREAMS && ack->seq > 0 && ack->seq < SEQS_MAX);
	CHECK(ack->status == WIRE_OK || ack->status == WIRE_DUP);
	/* What was acknowledged, in this life or an earlier one, can only be a DUP. */
	CHECK(ack->status == WIRE_DUP || !world->acked[ack->stream][ack->seq]);
	world->acked[ack->stream][ack->seq] = true;
}

static bool world_hear(struct world *world, int from)
{
	struct ack ack;
	if (read(from, &ack, sizeof(ack)) != sizeof(ack))
		return false;
	CHECK(world->acks_count < MESSAGES_MAX);
	world->acks[world->acks_count++] = ack;
	return true;
}

/* Reads so many messages, kills, and takes in what was on its way. */
static void world_kill_after(struct world *world, uint64_t messages)
{
	int from;
	int status;

	world->acks_count = 0;
	world->told_backups_count = 0;
	world->ended_runs_count = 0;
	if (world->events->before_life)
		world->events->before_life(world);
	pid_t child = world_spawn(world, &from);
	while (messages-- > 0 && world_hear(world, from))
		;
	CHECK_OK(kill(child, SIGKILL));
	assert_int_equal(waitpid(child, &status, 0), child);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	while (world_hear(world, from))
		;
	close(from);
	if (world->events->after_kill)
		world->events->after_kill(world);
	for (uint32_t i = 0; i < world->acks_count; i++)
		world_note(world, &world->acks[i]);
}

static int world_see(void *owner, const struct store_stream *stream, const struct batch *batch)
{
	struct world *world = owner;
	uint32_t seq = (uint32_t)stream->seq;
	CHECK(stream->shard < STREAMS && stream->seq < SEQS_MAX);
	struct content expected = content_of(stream->shard, seq);
	struct content found = { 0 };

	for (uint32_t i = 0; i < batch->rows_count; i++) {
		struct node node = dict_get_node(batch->dict, batch->rows[i].node);
		const struct frame *frame = dict_get_frame(batch->dict, node.frame);
		uint64_t function = strtoull(dict_text(batch->dict, frame->function), NULL, 10);
		found.samples += batch->rows[i].value;
		found.weighed += batch->rows[i].value * function;
	}
	assert_int_equal(batch->start_ns, content_start(stream->shard, seq));
	assert_int_equal(found.samples, expected.samples);
	assert_int_equal(found.weighed, expected.weighed);
	world->seen[stream->shard][seq]++;
	world->batches++;
	world->samples += found.samples;
	return 0;
}

/* Every seq below the highest that was ever tried is sent once more, unchanged. */
static void world_send_again(struct world *world, struct store *store)
{
	struct source source = source_new(store, 1);
	uint32_t series = source_series(&source, "cart", "a", 1);
	for (uint32_t stream = 0; stream < STREAMS; stream++) {
		uint32_t seq = world->next[stream];
		for (uint32_t back = 0; back < 5 && seq > 0; back++, seq--) {
			bool is_there = world->seen[stream][seq];
			content_fill(&source, series, stream, seq);
			source.stream.shard = (uint16_t)stream;
			uint32_t status = source_append(&source, store, seq);
			assert_int_equal(status, is_there ? WIRE_DUP : WIRE_OK);
			world->acked[stream][seq] = true;
		}
	}
	source_free(&source);
}

/* What was under way is ended: hidden windows come back, what began to be erased goes. */
struct runs {
	const struct world *world;
	uint64_t ids[64];
	bool are_erasing[64];
	uint32_t count;
};

static int runs_visit(void *owner, const struct store_run_state *state)
{
	struct runs *runs = owner;
	CHECK(runs->count < COUNT_OF(runs->ids));
	for (uint32_t i = 0; i < runs->world->ended_runs_count; i++)
		CHECK((uint32_t)state->run.id != runs->world->ended_runs[i]);
	runs->are_erasing[runs->count] = state->is_erasing;
	runs->ids[runs->count++] = state->run.id;
	return 0;
}

static void world_end_runs(const struct world *world, struct store *store)
{
	struct runs runs = { .world = world };
	struct store_expired expired;
	CHECK_OK(store_runs(store, runs_visit, &runs));
	for (uint32_t i = 0; i < runs.count; i++)
		if (runs.are_erasing[i])
			CHECK_OK(store_erase(store, runs.ids[i], NULL, &expired));
		else
			CHECK_OK(store_undo(store, runs.ids[i], &expired));
}

static int fail_finding(void *owner, const struct store_finding *finding)
{
	if (finding->kind == STORE_FINDING_DAMAGE)
		fail_msg("%s %s %s: %s", (const char *)owner, finding->family, finding->key,
		        finding->reason);
	return 0;
}

static void world_verify(const char *path)
{
	struct store_verify_summary summary;
	struct store_verify_options options = {
		.path = path,
		.found = fail_finding,
		.owner = (void *)path,
	};
	char error[512] = "";
	if (store_verify(&options, &summary, error, sizeof(error)) < 0)
		fail_msg("%s", error);
}

/* Each that is there is whole, and is the store of some moment. */
static int backup_visit(void *owner, const struct backup_manifest *manifest, int result)
{
	struct world *world = owner;
	char folder[400];
	char path[600];
	char error[512] = "";
	snprintf(folder, sizeof(folder), "%s/backups", world->dir->path);
	snprintf(path, sizeof(path), "%s/%s/store", folder, manifest->name);
	struct store_backup_options options = { .folder = folder, .name = manifest->name };
	CHECK_OK(result);
	if (store_backup_verify(options, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	CHECK(manifest->contents.batches <= world->batches);
	world_verify(path);
	for (uint32_t i = 0; i < world->told_backups_count; i++)
		if (strtoul(manifest->name + 1, NULL, 10) == world->told_backups[i])
			world->told_backups[i--] = world->told_backups[--world->told_backups_count];
	CHECK_OK(store_backup_delete(options, error, sizeof(error)));
	world->backups++;
	return 0;
}

/* With the store closed. */
static void world_check_folder(struct world *world)
{
	char folder[400];
	snprintf(folder, sizeof(folder), "%s/store", world->dir->path);
	world_verify(folder);
	snprintf(folder, sizeof(folder), "%s/backups", world->dir->path);
	int r = store_backup_list(folder, backup_visit, world);
	CHECK(r == 0 || r == -ENOENT);
	/* The list took those away that are there. */
	if (world->told_backups_count > 0)
		fail_msg("the backup b%u was made, and is not there", world->told_backups[0]);
}

static void world_check(struct world *world)
{
	AUTO(store) store = open_store(world->dir->path);
	struct store_counters counters;

	world_end_runs(world, store);

	memset(world->seen, 0, sizeof(world->seen));
	world->batches = 0;
	world->samples = 0;
	CHECK_OK(store_scan(store, 0, UINT64_MAX, NULL, world_see, world));
	for (uint32_t stream = 0; stream < STREAMS; stream++) {
		world->next[stream] = 1;
		for (uint32_t seq = 1; seq < SEQS_MAX; seq++) {
			uint8_t seen = world->seen[stream][seq];
			if (seen > 1 || (world->acked[stream][seq] && seen != 1))
				fail_msg("stream %u seq %u: there %u times", stream, seq, seen);
			if (seen)
				world->next[stream] = seq + 1;
		}
	}
	CHECK_OK(store_counters(store, "", &counters));
	assert_int_equal(counters.batches, world->batches);
	assert_int_equal(counters.samples, world->samples);
	/* From days and hours, and from the windows that they were made of. */
	assert_int_equal(store_fixture_value(store, "cpu", 0, UINT64_MAX), world->samples);
	uint64_t middle_ns = content_start(0, world->next[0] / 2);
	assert_int_equal(store_fixture_value(store, "cpu", 0, middle_ns) +
	                         store_fixture_value(store, "cpu", middle_ns, UINT64_MAX),
	        world->samples);
	struct store_size size;
	CHECK_OK(store_size(store, &size));
	world->rollups_max = size.rollups > world->rollups_max ? size.rollups : world->rollups_max;
	world_send_again(world, store);
	/* The next life begins behind what was just sent. */
	for (uint32_t stream = 0; stream < STREAMS; stream++)
		world->next[stream]++;
}

struct world_sums {
	uint64_t backups;
	uint64_t rollups;
};

/* One store through so many kills: what it has grows, and with it what a check costs. */
static void world_live(const struct world_events *events, void *owner, uint64_t seed,
        uint32_t cycles, struct world_sums *sums)
{
	TEST_DIR(dir);
	struct world *world = calloc(1, sizeof(*world));
	assert_non_null(world);
	world->dir = &dir;
	world->events = events;
	world->owner = owner;
	rng_init(&world->rng, seed);
	for (uint32_t i = 0; i < STREAMS; i++)
		world->next[i] = 1;

	for (uint32_t cycle = 0; cycle < cycles; cycle++) {
		/* The first messages are before and after the open: some die there. */
		world_kill_after(world, 1 + rng_below(&world->rng, cycle % 5 ? ACKS_MAX : 3));
		world_check(world);
		world_check_folder(world);
	}
	print_message("%" PRIu64 " batches, %" PRIu64 " samples over %u kills\n", world->batches,
	        world->samples, cycles);
	CHECK(world->batches > cycles);
	sums->backups += world->backups;
	sums->rollups += world->rollups_max;
	free(world);
}

/* The arguments of the process that is to be killed. */
static bool life_is_asked(int argc)
{
	return argc == 3 + STREAMS;
}

/*
 * What the heart of profile/ costs: a new stack, a known one, a row encoded, packed, opened and
 * decoded. Prints figures and judges none; build it in the release preset:
 *
 *	cmake --build build/release --target bench.dict_bench && build/release/bin/bench.dict_bench
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "profile/batch.h"
#include "profile/wire.h"

enum {
	STACKS = 100000,
	DEPTH = 40,
	FRAMES = 50000,
	SERIES = 200,
	ROWS = 200000,
	ROUNDS = 10,
};

static uint64_t bench_state = 1;

static uint32_t bench_number(uint32_t bound)
{
	bench_state = bench_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)((bench_state >> 33) % bound);
}

/* CPU seconds: others may share the machine. */
static double bench_seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void bench_say(const char *what, double seconds, double count, const char *of)
{
	printf("%-44s %8.1f ns/%s %10.2f M/s\n", what, seconds / count * 1e9, of,
	        count / seconds * 1e-6);
}

static void bench_must(int result)
{
	if (result == 0)
		return;
	fprintf(stderr, "dict_bench: %s\n", strerror(-result));
	exit(1);
}

/* Half of each stack is a path that others share, half is its own. */
static void bench_frames(uint32_t *frames)
{
	uint32_t shared = bench_number(2000);
	for (uint32_t i = 0; i < DEPTH; i++)
		frames[i] = i < DEPTH / 2 ? bench_number(FRAMES) : (shared * 37 + i * 101) % FRAMES;
}

static void bench_fill(struct dict *dict, uint32_t *nodes)
{
	uint32_t name, build_id, module, frame, id;
	bench_must(dict_cstring(dict, "libc.so.6", &name));
	bench_must(dict_cstring(dict, "0123456789abcdef0123456789abcdef01234567", &build_id));
	bench_must(
	        dict_module(dict, &(struct module){ .name = name, .build_id = build_id }, &module));

	double start = bench_seconds();
	for (uint32_t i = 0; i < FRAMES; i++) {
		struct frame native = {
			.kind = FRAME_NATIVE, .module = module, .address = i * 0x47
		};
		bench_must(dict_frame(dict, &native, &frame));
	}
	bench_say("new frame", bench_seconds() - start, FRAMES, "frame");

	for (uint32_t i = 0; i < SERIES; i++) {
		char text[32];
		struct label label = { .name = name };
		snprintf(text, sizeof(text), "instance-%u", i);
		bench_must(dict_cstring(dict, text, &label.value));
		struct series series = { .type = name, .unit = name, .period = 1 };
		bench_must(dict_series(dict, &series, &label, 1, &id));
	}

	uint32_t frames[DEPTH];
	uint32_t before = dict_mark(dict).nodes;
	start = bench_seconds();
	for (uint32_t i = 0; i < STACKS; i++) {
		bench_frames(frames);
		bench_must(dict_stack(dict, frames, DEPTH, &nodes[i]));
	}
	double seconds = bench_seconds() - start;
	bench_say("new stack of 40 frames", seconds, STACKS, "stack");
	printf("%-44s %8.1f nodes/stack, %.1f bytes/node\n", "",
	        (double)(dict_mark(dict).nodes - before) / STACKS,
	        (double)dict_memory(dict) / dict_mark(dict).nodes);

	bench_state = 1;
	start = bench_seconds();
	for (uint32_t i = 0; i < STACKS; i++) {
		bench_frames(frames);
		bench_must(dict_stack(dict, frames, DEPTH, &nodes[i]));
	}
	bench_say("the same stacks by frames", bench_seconds() - start, STACKS, "stack");
}

static void bench_remap(const struct dict *from, const uint32_t *nodes)
{
	AUTO(dict) to = dict_new(dict_limits_default);
	AUTO(dict_remap) remap = dict_remap_new(from, to);
	AUTO(dict_remap) second = dict_remap_new(from, to);
	uint32_t id;

	double start = bench_seconds();
	for (uint32_t i = 0; i < STACKS; i++)
		bench_must(dict_remap_node(remap, nodes[i], &id));
	bench_say("remap: stack new to the other dict", bench_seconds() - start, STACKS, "stack");

	start = bench_seconds();
	for (uint32_t round = 0; round < ROUNDS; round++) {
		for (uint32_t i = 0; i < STACKS; i++)
			bench_must(dict_remap_node(remap, nodes[i], &id));
	}
	bench_say("remap: stack seen before", bench_seconds() - start, (double)STACKS * ROUNDS,
	        "stack");

	start = bench_seconds();
	for (uint32_t i = 0; i < STACKS; i++)
		bench_must(dict_remap_node(second, nodes[i], &id));
	bench_say(
	        "remap: new session, stack known there", bench_seconds() - start, STACKS, "stack");
}

static void bench_dict_codec(const struct dict *dict)
{
	AUTO_BUF bytes = { 0 };
	AUTO(dict) back = dict_new(dict_limits_default);
	double nodes = dict_mark(dict).nodes;

	double start = bench_seconds();
	dict_encode(dict, (struct dict_mark){ 0 }, &bytes);
	bench_say("dict_encode", bench_seconds() - start, nodes, "node");
	printf("%-44s %8.2f bytes/node\n", "", (double)bytes.count / nodes);
	struct reader from = reader_of(bytes.bytes, bytes.count);
	start = bench_seconds();
	bench_must(dict_decode(back, &from));
	bench_say("dict_decode", bench_seconds() - start, nodes, "node");
}

static void bench_batch(struct dict *dict, const uint32_t *nodes)
{
	AUTO(batch) batch = batch_new(dict);
	double start = bench_seconds();
	for (uint32_t i = 0; i < ROWS; i++)
		bench_must(batch_add_row(batch, bench_number(SERIES), nodes[bench_number(STACKS)],
		        1 + bench_number(9)));
	bench_must(batch_settle(batch));
	bench_say("batch: add and settle", bench_seconds() - start, ROWS, "row");

	double rows = batch->rows_count;
	AUTO_BUF payload = { 0 };
	AUTO_BUF envelope = { 0 };
	AUTO_BUF unpacked = { 0 };
	struct wire_section section = { .seq = 1 };
	start = bench_seconds();
	for (uint32_t round = 0; round < ROUNDS; round++) {
		buf_reset(&payload);
		wire_put_section(&section, batch, &payload);
	}
	bench_say("batch: encode", bench_seconds() - start, rows * ROUNDS, "row");

	start = bench_seconds();
	for (uint32_t round = 0; round < ROUNDS; round++) {
		buf_reset(&envelope);
		wire_seal(WIRE_PUSH, &payload, &envelope);
	}
	bench_say("wire: seal", bench_seconds() - start, rows * ROUNDS, "row");
	printf("%-44s %8.2f bytes/row, %.2f sealed\n", "", (double)payload.count / rows,
	        (double)envelope.count / rows);

	struct wire_message message = { 0 };
	start = bench_seconds();
	for (uint32_t round = 0; round < ROUNDS; round++)
		bench_must(wire_open(envelope.bytes, envelope.count, &unpacked, &message));
	bench_say("wire: open", bench_seconds() - start, rows * ROUNDS, "row");

	AUTO(batch) back = batch_new(dict);
	start = bench_seconds();
	for (uint32_t round = 0; round < ROUNDS; round++) {
		struct reader from = message.payload;
		batch_reset(back);
		bench_must(wire_get_section(&from, &section));
		bench_must(batch_decode(back, &section.batch));
	}
	bench_say("batch: decode", bench_seconds() - start, rows * ROUNDS, "row");
}

int main(void)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	autofree uint32_t *nodes = calloc(STACKS, sizeof(*nodes));
	if (!dict || !nodes)
		return 1;

	bench_fill(dict, nodes);
	bench_remap(dict, nodes);
	bench_dict_codec(dict);
	bench_batch(dict, nodes);
	return 0;
}

/* Frames get their names, and what is one function becomes one frame: before and after as text. */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "profile/folded.h"
#include "profile/naming.h"
#include "tests/lib/test.h"

/* A source that has tables for two build-ids and counts how often it was asked. */
struct source {
	struct naming_source base;
	struct symbols *app;
	struct symbols *libc;
	uint32_t asked;
};

static const struct symbols *source_find(struct naming_source *base, const char *build_id)
{
	struct source *source = (struct source *)base;

	source->asked++;
	if (strcmp(build_id, "aa11") == 0 || strcmp(build_id, "aa22") == 0)
		return source->app;
	return strcmp(build_id, "cc33") == 0 ? source->libc : NULL;
}

static struct symbols *table(const char *first, const char *second)
{
	AUTO(symbols_builder) builder = symbols_builder_new();
	AUTO_BUF packed = { 0 };
	struct symbols *symbols = NULL;

	CHECK_OK(symbols_builder_add(builder, 0x1000, 0x100, first, strlen(first)));
	CHECK_OK(symbols_builder_add(builder, 0x1100, 0x100, second, strlen(second)));
	CHECK_OK(symbols_builder_finish(builder, &packed));
	CHECK_OK(symbols_open(packed.bytes, packed.count, &symbols));
	return symbols;
}

static struct source source_new(void)
{
	return (struct source){ .base = { .find = source_find },
		.app = table("app_main", "app_work"),
		.libc = table("write", "read") };
}

static void source_fini(struct source *source)
{
	symbols_free(source->app);
	symbols_free(source->libc);
}

/* What the tests' frames are made of. */
struct made_frame {
	enum frame_kind kind;
	uint8_t flags;
	const char *module; /* NULL: none */
	const char *build_id;
	const char *function;
	const char *file;
	uint64_t address;
	int64_t line;
	uint64_t start, limit, offset; /* of the mapping */
};

static uint32_t make_string(struct dict *dict, const char *text)
{
	uint32_t id;

	CHECK_OK(dict_cstring(dict, text ? text : "", &id));
	return id;
}

static uint32_t make_frame(struct dict *dict, const struct made_frame *made)
{
	struct module module = { .name = make_string(dict, made->module),
		.build_id = make_string(dict, made->build_id),
		.start = made->start,
		.limit = made->limit,
		.offset = made->offset };
	struct frame frame = { .kind = made->kind,
		.flags = made->flags,
		.function = make_string(dict, made->function),
		.file = make_string(dict, made->file),
		.address = made->address,
		.line = made->line };
	uint32_t id;

	if (made->module)
		CHECK_OK(dict_module(dict, &module, &frame.module));
	CHECK_OK(dict_frame(dict, &frame, &id));
	return id;
}

/* kind module!build function @address file:line +inlined, for comparison. */
static void print_frame(const struct dict *dict, uint32_t id, struct buf *to)
{
	struct frame frame = dict_get_frame(dict, id);
	const struct module *module = dict_get_module(dict, frame.module);
	static const char *const kinds[] = { "", "native", "kernel", "managed", "truncated" };

	buf_printf(to, "%s %s!%s %s", kinds[frame.kind], dict_text(dict, module->name),
	        dict_text(dict, module->build_id), dict_text(dict, frame.function));
	if (frame.address)
		buf_printf(to, " @%" PRIx64, frame.address);
	if (frame.file || frame.line)
		buf_printf(to, " %s:%" PRId64, dict_text(dict, frame.file), frame.line);
	if (frame.flags & FRAME_INLINED)
		buf_printf(to, " inlined");
	buf_put_u8(to, 0);
}

static const struct naming_case {
	const char *what;
	struct made_frame made;
	const char *at_function;
	const char *at_address;
} naming_cases[] = {
	{ "named by the source",
	        { .kind = FRAME_NATIVE, .module = "app", .build_id = "aa11", .address = 0x1010 },
	        "native app! app_main", "native app!aa11 app_main @1010" },
	{ "beyond every function",
	        { .kind = FRAME_NATIVE, .module = "app", .build_id = "aa11", .address = 0x1200 },
	        "native app! ", "native app!aa11  @1200" },
	{ "a build the source lacks",
	        { .kind = FRAME_NATIVE, .module = "app", .build_id = "ff", .address = 0x1010 },
	        "native app! ", "native app!ff  @1010" },
	{ "no build-id", { .kind = FRAME_NATIVE, .module = "app", .address = 0x1010 },
	        "native app! ", "native app!  @1010" },
	{ "no module", { .kind = FRAME_NATIVE, .address = 0x1010 }, "native ! ",
	        "native !  @1010" },
	{ "a mapping leads to the offset",
	        { .kind = FRAME_NATIVE,
	                .module = "/usr/bin/app",
	                .build_id = "aa11",
	                .address = 0x7f0110,
	                .start = 0x7f0000,
	                .limit = 0x7f2000,
	                .offset = 0x1000 },
	        "native app! app_work", "native /usr/bin/app!aa11 app_work @7f0110" },
	{ "an address outside its mapping is taken as it is",
	        { .kind = FRAME_NATIVE,
	                .module = "app",
	                .build_id = "aa11",
	                .address = 0x1010,
	                .start = 0x7f0000,
	                .limit = 0x7f2000,
	                .offset = 0x1000 },
	        "native app! app_main", "native app!aa11 app_main @1010" },
	{ "named when it came",
	        { .kind = FRAME_NATIVE,
	                .module = "app",
	                .build_id = "aa11",
	                .function = "known",
	                .address = 0x1010 },
	        "native app! known", "native app!aa11 known @1010" },
	{ "kernel", { .kind = FRAME_KERNEL, .module = "vmlinux", .function = "do_syscall_64" },
	        "kernel vmlinux! do_syscall_64", "kernel vmlinux! do_syscall_64" },
	{ "kernel without a name", { .kind = FRAME_KERNEL, .module = "vmlinux" },
	        "kernel vmlinux! ", "kernel vmlinux! " },
	{ "managed",
	        { .kind = FRAME_MANAGED,
	                .flags = FRAME_INLINED,
	                .function = "handle",
	                .file = "app.py",
	                .line = 12,
	                .address = 5 },
	        "managed ! handle", "managed ! handle @5 app.py:12 inlined" },
	{ "truncated", { .kind = FRAME_TRUNCATED }, "truncated ! ", "truncated ! " },
	{ "a folder as module", { .kind = FRAME_MANAGED, .module = "odd/", .function = "f" },
	        "managed odd/! f", "managed odd/! f" },
};

static void a_frame_becomes_what_its_level_says(void **state)
{
	struct source source = source_new();

	for (size_t i = 0; i < COUNT_OF(naming_cases); i++) {
		for (int level = NAMING_FUNCTION; level <= NAMING_ADDRESS; level++) {
			AUTO(dict) from_dict = dict_new(dict_limits_default);
			AUTO(dict) to_dict = dict_new(dict_limits_default);
			AUTO(batch) from = batch_new(from_dict);
			AUTO(batch) to = batch_new(to_dict);
			AUTO_BUF printed = { 0 };
			struct series series = { .period = 7 };
			uint32_t series_id, node;

			print_message("%s, level %d\n", naming_cases[i].what, level);
			uint32_t frame = make_frame(from_dict, &naming_cases[i].made);
			CHECK_OK(dict_node(from_dict, DICT_NODE_ROOT, frame, &node));
			CHECK_OK(dict_series(from_dict, &series, NULL, 0, &series_id));
			CHECK_OK(batch_add_row(from, series_id, node, 3));
			CHECK_OK(naming_apply(from, &source.base, (enum naming_level)level, to));

			assert_int_equal(to->rows_count, 1);
			assert_int_equal(to->rows[0].value, 3);
			assert_int_equal(dict_get_series(to_dict, to->rows[0].series)->period, 7);
			struct node named = dict_get_node(to_dict, to->rows[0].node);
			assert_int_equal(named.parent, DICT_NODE_ROOT);
			print_frame(to_dict, named.frame, &printed);
			assert_string_equal((char *)printed.bytes,
			        level == NAMING_FUNCTION ? naming_cases[i].at_function
			                                 : naming_cases[i].at_address);
			/* Nothing is in the answer's dict but what the answer needs. */
			assert_int_equal(dict_mark(to_dict).frames, 1);
		}
	}
	source_fini(&source);
}

static void what_is_one_function_is_one_frame_and_its_rows_add_up(void **state)
{
	static const struct made_frame frames[] = {
		/* Two addresses, two builds, a file known or not, inlined or not: one app_main. */
		{ .kind = FRAME_NATIVE, .module = "app", .build_id = "aa11", .address = 0x1010 },
		{ .kind = FRAME_NATIVE, .module = "app", .build_id = "aa11", .address = 0x1020 },
		{ .kind = FRAME_NATIVE, .module = "app", .build_id = "aa22", .address = 0x1010 },
		{ .kind = FRAME_NATIVE,
		        .flags = FRAME_INLINED,
		        .module = "/opt/app",
		        .function = "app_main",
		        .file = "main.c",
		        .line = 3 },
		/* Another function, another module, another kind: each its own. */
		{ .kind = FRAME_NATIVE, .module = "app", .build_id = "aa11", .address = 0x1110 },
		{ .kind = FRAME_NATIVE, .module = "libapp", .function = "app_main" },
		{ .kind = FRAME_MANAGED, .module = "app", .function = "app_main" },
	};
	struct source source = source_new();
	AUTO(dict) from_dict = dict_new(dict_limits_default);
	AUTO(dict) to_dict = dict_new(dict_limits_default);
	AUTO(batch) from = batch_new(from_dict);
	AUTO(batch) to = batch_new(to_dict);
	AUTO_BUF text = { 0 };
	struct series series = { .period = 1 };
	uint32_t series_id, node;
	uint64_t replaced;

	CHECK_OK(dict_series(from_dict, &series, NULL, 0, &series_id));
	for (uint32_t i = 0; i < COUNT_OF(frames); i++) {
		uint32_t leaf;

		CHECK_OK(dict_node(
		        from_dict, DICT_NODE_ROOT, make_frame(from_dict, &frames[i]), &node));
		CHECK_OK(batch_add_row(from, series_id, node, 1u << i));
		CHECK_OK(dict_node(from_dict, node, make_frame(from_dict, &frames[0]), &leaf));
		CHECK_OK(batch_add_row(from, series_id, leaf, 100));
	}
	CHECK_OK(naming_apply(from, &source.base, NAMING_FUNCTION, to));
	assert_int_equal(dict_mark(to_dict).frames, 4);
	assert_int_equal(to->rows_count, 8);
	assert_int_equal(batch_samples(to), batch_samples(from));
	CHECK_OK(folded_write(to, frame_name_plain, &text, &replaced));
	buf_put_u8(&text, 0);
	assert_string_equal((char *)text.bytes,
	        "app_main 111\napp_main;app_main 600\napp_work 16\napp_work;app_main 100\n");
	/* Once per frame, not once per row or node. */
	assert_int_equal(source.asked, 4);
	source_fini(&source);
}

static void a_walk_that_reached_main_is_finished(void **state)
{
	static const struct made_frame truncated = { .kind = FRAME_TRUNCATED };
	static const struct made_frame libc = {
		.kind = FRAME_NATIVE, .module = "libc.so.6", .address = 0x9000
	};
	static const struct made_frame app = {
		.kind = FRAME_NATIVE, .module = "app", .function = "run"
	};
	static const struct made_frame start = {
		.kind = FRAME_NATIVE, .module = "app", .function = "main"
	};
	static const struct made_frame managed = { .kind = FRAME_MANAGED, .function = "main" };
	static const struct {
		const struct made_frame *stack[5]; /* root first */
		const char *text;
	} cases[] = {
		{ { &truncated, &start, &app }, "main;run 1\n" },
		{ { &truncated, &libc, &start, &app }, "[unknown] libc.so.6;main;run 1\n" },
		{ { &truncated, &libc, &app }, "[truncated];[unknown] libc.so.6;run 1\n" },
		{ { &truncated, &app, &start }, "[truncated];run;main 1\n" },
		{ { &truncated, &libc, &libc, &start },
		        "[truncated];[unknown] libc.so.6;[unknown] libc.so.6;main 1\n" },
		{ { &truncated, &libc, &managed }, "[truncated];[unknown] libc.so.6;main 1\n" },
		{ { &libc, &start }, "[unknown] libc.so.6;main 1\n" },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		for (int level = NAMING_FUNCTION; level <= NAMING_ADDRESS; level++) {
			AUTO(dict) from_dict = dict_new(dict_limits_default);
			AUTO(dict) to_dict = dict_new(dict_limits_default);
			AUTO(batch) from = batch_new(from_dict);
			AUTO(batch) to = batch_new(to_dict);
			AUTO_BUF text = { 0 };
			struct series series = { .period = 1 };
			uint32_t series_id, node = DICT_NODE_ROOT;
			uint64_t replaced;

			CHECK_OK(dict_series(from_dict, &series, NULL, 0, &series_id));
			for (size_t j = 0; j < 5 && cases[i].stack[j]; j++)
				CHECK_OK(dict_node(from_dict, node,
				        make_frame(from_dict, cases[i].stack[j]), &node));
			CHECK_OK(batch_add_row(from, series_id, node, 1));
			CHECK_OK(naming_apply(from, NULL, (enum naming_level)level, to));
			CHECK_OK(folded_write(to, frame_name_plain, &text, &replaced));
			buf_put_u8(&text, 0);
			assert_string_equal((char *)text.bytes, cases[i].text);
		}
	}
}

static void naming_adds_to_what_is_there(void **state)
{
	struct made_frame made = { .kind = FRAME_MANAGED, .function = "f", .line = 1 };
	AUTO(dict) to_dict = dict_new(dict_limits_default);
	AUTO(batch) to = batch_new(to_dict);

	for (int round = 0; round < 3; round++) {
		AUTO(dict) from_dict = dict_new(dict_limits_default);
		AUTO(batch) from = batch_new(from_dict);
		struct series series = { .period = 1 };
		uint32_t series_id, node;

		made.line++; /* another frame each time, the same function */
		CHECK_OK(dict_series(from_dict, &series, NULL, 0, &series_id));
		CHECK_OK(dict_node(from_dict, DICT_NODE_ROOT, make_frame(from_dict, &made), &node));
		CHECK_OK(batch_add_row(from, series_id, node, 5));
		/* A row of the root has no frame to name. */
		CHECK_OK(batch_add_row(from, series_id, DICT_NODE_ROOT, 1));
		CHECK_OK(naming_apply(from, NULL, NAMING_FUNCTION, to));
	}
	assert_int_equal(to->rows_count, 2);
	assert_int_equal(to->rows[0].node, DICT_NODE_ROOT);
	assert_int_equal(to->rows[0].value, 3);
	assert_int_equal(to->rows[1].value, 15);
}

static void a_sum_past_64_bits_and_a_full_dict_are_errors(void **state)
{
	AUTO(dict) from_dict = dict_new(dict_limits_default);
	AUTO(batch) from = batch_new(from_dict);
	struct series series = { .period = 1 };
	uint32_t series_id, node;

	CHECK_OK(dict_series(from_dict, &series, NULL, 0, &series_id));
	for (int line = 1; line <= 2; line++) {
		struct made_frame made = { .kind = FRAME_MANAGED, .function = "f", .line = line };
		CHECK_OK(dict_node(from_dict, DICT_NODE_ROOT, make_frame(from_dict, &made), &node));
		CHECK_OK(batch_add_row(from, series_id, node, UINT64_MAX));
	}
	AUTO(dict) to_dict = dict_new(dict_limits_default);
	AUTO(batch) to = batch_new(to_dict);
	assert_int_equal(naming_apply(from, NULL, NAMING_FUNCTION, to), -EOVERFLOW);
	AUTO(batch) apart = batch_new(to_dict);
	CHECK_OK(naming_apply(from, NULL, NAMING_ADDRESS, apart));
	assert_int_equal(apart->rows_count, 2);

	struct dict_limits limits = dict_limits_default;
	limits.nodes = 2;
	AUTO(dict) small = dict_new(limits);
	AUTO(batch) full = batch_new(small);
	assert_int_equal(naming_apply(from, NULL, NAMING_ADDRESS, full), -ENOSPC);
}

static uint32_t new_stack(struct dict *dict, uint32_t number)
{
	char name[32];
	struct frame frame = { .kind = FRAME_MANAGED };
	uint32_t id;
	uint32_t node;
	snprintf(name, sizeof(name), "function%u", number);
	CHECK_OK(dict_cstring(dict, name, &frame.function));
	CHECK_OK(dict_frame(dict, &frame, &id));
	CHECK_OK(dict_stack(dict, &id, 1, &node));
	return node;
}

/* Far more nodes than frames at first, so that the slack of nodes has room for frames that the
 * other memo has not. */
static void a_dict_may_grow_by_frames_while_its_nodes_still_fit(void **state)
{
	AUTO(dict) from = dict_new(dict_limits_default);
	AUTO(dict) to = dict_new(dict_limits_default);
	struct source source = source_new();
	uint32_t node = new_stack(from, 0);
	uint32_t named;
	uint32_t frame = dict_get_node(from, node).frame;
	for (uint32_t depth = 0; depth < 1000; depth++)
		CHECK_OK(dict_node(from, node, frame, &node));
	AUTO(naming) naming = naming_new(from, to, NAMING_FUNCTION);
	assert_non_null(naming);
	CHECK_OK(naming_stack(naming, &source.base, node, &named));
	for (uint32_t number = 1; number < 400; number++) {
		node = new_stack(from, number);
		CHECK_OK(naming_stack(naming, &source.base, node, &named));
		char expected[32];
		snprintf(expected, sizeof(expected), "function%u", number);
		struct frame leaf = dict_get_frame(to, dict_get_node(to, named).frame);
		assert_string_equal(dict_text(to, leaf.function), expected);
	}
	source_fini(&source);
}

static void unknown_is_a_frame_that_no_source_could_name(void **state)
{
	static const struct {
		struct frame frame;
		bool is_unknown;
	} cases[] = {
		{ { .kind = FRAME_NATIVE, .address = 1 }, true },
		{ { .kind = FRAME_NATIVE, .address = 1, .function = 1 }, false },
		{ { .kind = FRAME_KERNEL }, true },
		{ { .kind = FRAME_MANAGED }, true },
		{ { .kind = FRAME_MANAGED, .function = 1 }, false },
		{ { .kind = FRAME_TRUNCATED }, false },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_int_equal(naming_is_unknown(&cases[i].frame), cases[i].is_unknown);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_frame_becomes_what_its_level_says),
		cmocka_unit_test(what_is_one_function_is_one_frame_and_its_rows_add_up),
		cmocka_unit_test(a_walk_that_reached_main_is_finished),
		cmocka_unit_test(naming_adds_to_what_is_there),
		cmocka_unit_test(a_sum_past_64_bits_and_a_full_dict_are_errors),
		cmocka_unit_test(a_dict_may_grow_by_frames_while_its_nodes_still_fit),
		cmocka_unit_test(unknown_is_a_frame_that_no_source_could_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

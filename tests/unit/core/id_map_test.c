/* Random programs against a plain array searched from its start, and the edges by hand. */

#include "core/id_map.h"

#include <errno.h>
#include <stdio.h>

#include "core/rng.h"
#include "tests/lib/fault.h"
#include "tests/lib/test.h"

#define MODEL_MAX 400

struct model {
	struct hash128 hashes[MODEL_MAX];
	uint32_t count;
};

static uint32_t model_find(const struct model *model, struct hash128 hash)
{
	for (uint32_t i = 0; i < model->count; i++) {
		if (hash128_equal(model->hashes[i], hash))
			return i;
	}
	return ID_NONE;
}

/* Few distinct low halves, so that runs of slots are long and wrap around. */
static struct hash128 random_hash(struct rng *rng, uint32_t spread)
{
	return (struct hash128){ .low = rng_below(rng, spread) * UINT64_C(0xffffffffffffff41),
		.high = rng_below(rng, 40) };
}

static void check_same(const struct id_map *map, const struct model *model)
{
	uint32_t found[MODEL_MAX];
	assert_int_equal(id_map_count(map), model->count);
	id_map_find_all(map, model->hashes, MODEL_MAX, found);
	for (uint32_t i = model->count; i < MODEL_MAX; i++)
		assert_int_equal(found[i], model_find(model, model->hashes[i]));
	for (uint32_t i = 0; i < model->count; i++) {
		assert_int_equal(id_map_find(map, model->hashes[i]), i);
		assert_int_equal(found[i], i);
		CHECK(hash128_equal(id_map_hashes(map)[i], model->hashes[i]));
		CHECK(hash128_equal(id_map_hash(map, i), model->hashes[i]));
	}
}

static void step(struct rng *rng, struct id_map *map, struct model *model, uint32_t spread)
{
	struct hash128 hash = random_hash(rng, spread);
	uint32_t known = model_find(model, hash);
	uint32_t id = 12345;
	bool added = false;

	switch (rng_below(rng, 20)) {
	case 0: {
		uint32_t count = (uint32_t)rng_below(rng, model->count + 1);
		id_map_truncate(map, count);
		model->count = count;
		break;
	}
	case 1:
		if (rng_below(rng, 8) == 0) {
			id_map_reset(map);
			model->count = 0;
		}
		break;
	case 2:
	case 3:
		assert_int_equal(id_map_find(map, hash), known);
		break;
	default:
		if (known == ID_NONE && model->count == MODEL_MAX) {
			assert_int_equal(id_map_intern(map, hash, &id, &added), -ENOSPC);
			assert_int_equal(id, 12345);
			break;
		}
		CHECK_OK(id_map_intern(map, hash, &id, &added));
		assert_int_equal(added, known == ID_NONE);
		assert_int_equal(id, added ? model->count : known);
		if (added)
			model->hashes[model->count++] = hash;
	}
}

static void random_programs_agree_with_the_model(void **state)
{
	for (uint64_t seed = 0; seed < 60; seed++) {
		struct rng rng;
		struct model model = {
			0
		}; /* places behind the count are of hashes that were taken back */
		rng_init(&rng, seed);
		uint32_t spread = 1 + (uint32_t)rng_below(&rng, 60);
		AUTO(id_map) map = id_map_new(MODEL_MAX);
		assert_non_null(map);
		print_message("seed %lu\n", (unsigned long)seed);
		for (int i = 0; i < 800; i++) {
			step(&rng, map, &model, spread);
			if (i % 16 == 0)
				check_same(map, &model);
		}
		check_same(map, &model);
	}
}

static void full_map_refuses_only_new_hashes(void **state)
{
	AUTO(id_map) map = id_map_new(2);
	uint32_t id = 0;
	bool added = false;
	CHECK_OK(id_map_intern(map, (struct hash128){ 1, 1 }, &id, &added));
	CHECK_OK(id_map_intern(map, (struct hash128){ 0, 0 }, &id, &added));
	assert_int_equal(id, 1);
	assert_int_equal(id_map_intern(map, (struct hash128){ 3, 3 }, &id, &added), -ENOSPC);
	CHECK_OK(id_map_intern(map, (struct hash128){ 0, 0 }, &id, &added));
	CHECK(id == 1 && !added);

	AUTO(id_map) none = id_map_new(0);
	assert_int_equal(id_map_intern(none, (struct hash128){ 1, 1 }, &id, &added), -ENOSPC);
	assert_int_equal(id_map_find(none, (struct hash128){ 1, 1 }), ID_NONE);
}

static void growth_that_fails_loses_nothing(void **state)
{
	AUTO(id_map) map = id_map_new(10000);
	uint32_t failures = 0;
	uint32_t id;
	bool added;
	assert_non_null(map);
	for (uint64_t i = 0; i < 5000; i++) {
		struct hash128 hash = { i * UINT64_C(0x9e3779b97f4a7c15), i };
		fault_arm(FAULT_ALLOC, 0, ENOMEM);
		int r = id_map_intern(map, hash, &id, &added);
		if (fault_disarm()) {
			assert_int_equal(r, -ENOMEM);
			assert_int_equal(id_map_count(map), i);
			failures++;
			r = id_map_intern(map, hash, &id, &added);
		}
		CHECK_OK(r);
		CHECK(added && id == i);
	}
	CHECK(failures > 5);
	for (uint64_t i = 0; i < 5000; i++) {
		struct hash128 hash = { i * UINT64_C(0x9e3779b97f4a7c15), i };
		assert_int_equal(id_map_find(map, hash), i);
	}
}

/*
 * What a hostile sender would make: hashes of which one half is always the same, or all end in the
 * same bits. With each in one run of the table this would be 10^11 steps, and no test would end.
 */
static void hashes_made_to_collide_do_not(void **state)
{
	const uint64_t count = 300000;
	for (unsigned int shift = 0; shift <= 40; shift += 20) {
		AUTO(id_map) low = id_map_new(1u << 20);
		AUTO(id_map) high = id_map_new(1u << 20);
		uint32_t id = 0;
		bool added = false;
		for (uint64_t i = 0; i < count; i++) {
			CHECK_OK(id_map_intern(
			        low, (struct hash128){ .low = i << shift }, &id, &added));
			CHECK(added && id == i);
			CHECK_OK(id_map_intern(high,
			        (struct hash128){ .low = 7, .high = i << shift }, &id, &added));
			CHECK(added && id == i);
		}
		assert_int_equal(
		        id_map_find(low, (struct hash128){ .low = UINT64_C(5) << shift }), 5);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_programs_agree_with_the_model),
		cmocka_unit_test(full_map_refuses_only_new_hashes),
		cmocka_unit_test(growth_that_fails_loses_nothing),
		cmocka_unit_test(hashes_made_to_collide_do_not),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

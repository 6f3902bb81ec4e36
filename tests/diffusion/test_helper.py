"""Whole pictures by four real processes, one that leads and three that help."""


def test_pictures_are_those_of_one_process(four_processes):
    # plain, compressed, unguided, by a rule that draws noise, and refined by two rules, in one pass and two
    assert four_processes[0]["passes"] == [0, 0, 0, 0, 1, 2]
    assert len(four_processes[0]["apart"]) == 6
    assert all(apart <= 1 for apart in four_processes[0]["apart"])


def test_how_many_drew_is_in_the_record_when_others_did(four_processes):
    assert four_processes[0]["processes"] == [None, 4, 4, 4, 4, 4, 4]


def test_a_helper_out_of_memory_steps_the_plan_of_all_down(four_processes):
    assert four_processes[0]["memory"] == "offload"


def test_what_overflows_in_half_is_drawn_again_by_all(four_processes):
    dtype, apart = four_processes[0]["overflown"]
    assert dtype == "float32"
    assert apart <= 1


def test_a_lora_and_an_init_image_are_everyones(four_processes):
    from_image, with_lora, between, processes = four_processes[0]["files"]
    assert max(from_image, with_lora) <= 1
    assert between > 10
    assert processes == 4


def test_weights_that_a_helper_lacks_are_the_leaders_error(four_processes):
    assert four_processes[0]["unlocated"][0] in ("model-unknown", "model-missing", "weights-invalid")


def test_helpers_end_with_the_leaders_code(four_processes):
    assert [process["ended"] for process in four_processes[1:]] == [6, 6, 6]

"""The servo bus without physics: packets out of a stream, the control table, who answers what."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lerobot.motors.feetech import tables

from envs.errors import EmbodiedError
from robots.twin.bus import Bus
from robots.twin.memory import Memory
from robots.twin.protocol import BROADCAST, Instruction, Packet, Parser
from robots.twin.registers import BAUD_RATES, EEPROM, REGISTERS, SIZE, STS, Error
from robots.twin.servo import Servo

codes = st.sampled_from(Instruction).map(int) | st.integers(0, 255)
packets = st.builds(Packet, id=st.integers(0, BROADCAST), code=codes, parameters=st.binary(max_size=40))
# Noise without a header in it, nor the first half of one at its end.
noise = st.binary(max_size=20).map(lambda data: data.replace(b"\xff", b""))


def bus(count=6):
    return Bus([Servo(ID=number + 1) for number in range(count)])


def ask(wire, identity, code, *parameters, baud_rate=None):
    """The status packets, parsed."""
    return Parser().feed(b"".join(wire.answer(Packet(identity, code, bytes(parameters)), baud_rate)))


def test_a_packet_as_the_manual_prints_it():
    assert Packet(1, Instruction.PING).encode() == bytes.fromhex("FF FF 01 02 01 FB")
    assert Packet(1, Instruction.READ, bytes((0x38, 0x02))).encode() == bytes.fromhex("FF FF 01 04 02 38 02 BE")


@given(st.lists(st.tuples(noise, packets)), st.data())
def test_packets_survive_noise_between_them_and_any_cutting(parts, data):
    stream = b"".join(junk + packet.encode() for junk, packet in parts)
    parser, found = Parser(), []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        found += parser.feed(stream[:cut])
        stream = stream[cut:]
    assert found == [packet for _, packet in parts]


@given(packets, st.lists(packets, min_size=1), st.data())
def test_a_corrupted_packet_costs_itself_alone(broken, others, data):
    wire = bytearray(broken.encode())
    place = data.draw(st.integers(2, len(wire) - 1))
    wire[place] ^= data.draw(st.integers(1, 255))
    parser = Parser()
    first = parser.feed(bytes(wire))
    # A corrupted length may wait for bytes that never come; the silence after them ends that.
    parser.clear()
    assert broken not in first
    assert parser.feed(b"".join(packet.encode() for packet in others)) == others


@given(st.binary(max_size=400))
def test_any_bytes_are_taken_and_kept_short(data):
    parser = Parser()
    for packet in parser.feed(data):
        assert packet.encode() in data
    assert len(parser._pending) < 255


def test_the_table_agrees_with_lerobots():
    theirs = {name.strip(): entry for name, entry in tables.MODEL_CONTROL_TABLE["sts3215"].items()}
    for name, (address, size) in theirs.items():
        if name != "Moving_Velocity":
            assert (REGISTERS[name].address, REGISTERS[name].size) == (address, size), name
    signs = tables.MODEL_ENCODING_TABLE["sts3215"]
    assert {name: signs[name] for name in REGISTERS if name in signs} == {
        name: entry.sign_bit for name, entry in REGISTERS.items() if entry.sign_bit is not None and name in signs
    }
    assert REGISTERS["Model_Number"].initial == tables.MODEL_NUMBER_TABLE["sts3215"]
    rates = tables.MODEL_BAUDRATE_TABLE["sts3215"]
    assert {rate: number for number, rate in enumerate(BAUD_RATES)} == rates


def test_registers_do_not_overlap_and_fit_the_table():
    places = [entry.address + offset for entry in REGISTERS.values() for offset in range(entry.size)]
    assert len(places) == len(set(places))
    assert max(places) < SIZE


@given(st.sampled_from(sorted(REGISTERS)), st.integers(-70000, 70000))
def test_values_come_back_as_far_as_they_fit(name, value):
    entry, memory = REGISTERS[name], Memory()
    most = (1 << (8 * entry.size if entry.sign_bit is None else entry.sign_bit)) - 1
    least = -most if entry.sign_bit is not None else 0
    memory[name] = value
    assert memory[name] == entry.decode(memory.read(entry.address, entry.size)) == min(max(value, least), most)


@given(st.integers(-2047, 2047))
def test_a_sign_is_a_bit_beside_the_magnitude(value):
    raw = int.from_bytes(REGISTERS["Homing_Offset"].encode(value), "little")
    assert raw == abs(value) + (2048 if value < 0 else 0)


@given(st.integers(0, 100), st.binary(min_size=1, max_size=10))
def test_a_host_writes_where_it_may_and_nowhere_else(address, data):
    memory = Memory()
    before = memory.read(0, SIZE)
    memory.write(address, data)
    after = memory.read(0, SIZE)
    for place in range(SIZE):
        inside = address <= place < address + len(data)
        assert after[place] == (data[place - address] if inside and place in STS.writable else before[place])
    assert memory["Model_Number"] == 777


@pytest.mark.parametrize("lock", [0, 1])
def test_the_eeprom_outlives_the_power_if_it_was_unlocked(lock):
    memory = Memory(ID=3)
    memory.write(REGISTERS["Lock"].address, bytes((lock,)))
    memory.write(REGISTERS["Homing_Offset"].address, REGISTERS["Homing_Offset"].encode(-300))
    memory.write(REGISTERS["Max_Torque_Limit"].address, REGISTERS["Max_Torque_Limit"].encode(500))
    memory.write(REGISTERS["Goal_Position"].address, b"\x01\x02")
    assert (memory["Homing_Offset"], memory["Goal_Position"], memory["Torque_Limit"]) == (-300, 513, 1000)
    memory.power_cycle()
    kept = (0, 1000) if lock else (-300, 500)
    assert (memory["Homing_Offset"], memory["Max_Torque_Limit"]) == kept
    assert (memory["ID"], memory["Goal_Position"], memory["Lock"]) == (3, 0, 1)
    assert REGISTERS["Torque_Limit"].address not in EEPROM


def test_an_unknown_register_is_named():
    with pytest.raises(EmbodiedError, match=r"Unknown register 'Goal_Positon'\. Did you mean 'Goal_Position'"):
        Memory()["Goal_Positon"]


def test_ping_is_answered_by_the_one_and_broadcast_ping_by_all_in_order():
    wire = Bus([Servo(ID=number) for number in (4, 2, 9)])
    assert ask(wire, 2, Instruction.PING) == [Packet(2, 0)]
    assert ask(wire, 3, Instruction.PING) == []
    assert [packet.id for packet in ask(wire, BROADCAST, Instruction.PING)] == [2, 4, 9]


def test_read_gives_bytes_and_zeros_beyond_the_table():
    wire = bus()
    assert ask(wire, 5, Instruction.READ, 3, 2) == [Packet(5, 0, (777).to_bytes(2, "little"))]
    assert ask(wire, 5, Instruction.READ, SIZE - 1, 4)[0].parameters == b"\x01\0\0\0"


def test_write_is_acknowledged_broadcast_write_and_sync_write_are_not():
    wire = bus()
    limit = REGISTERS["Torque_Limit"].address
    assert ask(wire, 2, Instruction.WRITE, limit, 0xF4, 0x01) == [Packet(2, 0)]
    assert ask(wire, BROADCAST, Instruction.WRITE, limit + 1, 0x02) == []
    assert ask(wire, BROADCAST, Instruction.SYNC_WRITE, limit, 1, 3, 7, 6, 9) == []
    assert [servo.memory["Torque_Limit"] for servo in wire.servos] == [0x2E8, 0x2F4, 0x207, 0x2E8, 0x2E8, 0x209]


def test_sync_read_answers_in_the_order_asked_for():
    wire = bus()
    found = ask(wire, BROADCAST, Instruction.SYNC_READ, 5, 1, 6, 1, 99, 3)
    assert [(packet.id, packet.parameters) for packet in found] == [(6, b"\6"), (1, b"\1"), (3, b"\3")]


def test_a_registered_write_waits_for_its_action():
    wire = bus()
    limit = REGISTERS["Torque_Limit"].address
    assert ask(wire, 4, Instruction.REG_WRITE, limit, 0, 0) == [Packet(4, 0)]
    assert wire.servos[3].memory["Torque_Limit"] == 1000
    assert ask(wire, BROADCAST, Instruction.ACTION) == []
    assert [servo.memory["Torque_Limit"] for servo in wire.servos] == [1000, 1000, 1000, 0, 1000, 1000]
    wire.servos[3].memory["Torque_Limit"] = 5
    ask(wire, BROADCAST, Instruction.ACTION)
    assert wire.servos[3].memory["Torque_Limit"] == 5


def test_a_new_id_holds_from_the_next_packet_on():
    wire = bus(1)
    assert ask(wire, 1, Instruction.WRITE, REGISTERS["ID"].address, 8) == [Packet(1, 0)]
    assert ask(wire, 1, Instruction.PING) == []
    assert ask(wire, 8, Instruction.PING) == [Packet(8, 0)]


def test_response_level_zero_answers_questions_alone():
    wire = bus(1)
    ask(wire, 1, Instruction.WRITE, REGISTERS["Response_Status_Level"].address, 0)
    assert ask(wire, 1, Instruction.WRITE, REGISTERS["Torque_Limit"].address, 0, 0) == []
    assert len(ask(wire, 1, Instruction.PING)) == len(ask(wire, 1, Instruction.READ, 0, 1)) == 1


def test_error_bits_ride_on_every_answer():
    wire = bus(2)
    wire.servos[0].memory["Status"] = Error.OVERLOAD
    assert [packet.code for packet in ask(wire, BROADCAST, Instruction.PING)] == [32, 0]
    assert ask(wire, 1, Instruction.WRITE, 40, 0) == [Packet(1, 32)]


def test_another_baud_rate_and_no_power_are_silence():
    wire = bus(2)
    wire.servos[1].memory["Baud_Rate"] = BAUD_RATES.index(57_600)
    assert [packet.id for packet in ask(wire, BROADCAST, Instruction.PING, baud_rate=1_000_000)] == [1]
    assert [packet.id for packet in ask(wire, BROADCAST, Instruction.PING, baud_rate=57_600)] == [2]
    wire.servos[0].switch(False)
    assert ask(wire, 1, Instruction.PING) == []


@given(packets)
def test_no_packet_upsets_the_bus(packet):
    wire = bus(2)
    for reply in wire.answer(packet):
        assert len(Parser().feed(reply)) == 1
    assert all(servo.memory["Model_Number"] == 777 for servo in wire.servos)

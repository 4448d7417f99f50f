// The clock loop of the Verilated core with its host link: bytes on and off the wires, bit by bit.

#include "Vlinked_top.h"

#include <cstdint>

namespace {

constexpr int DATA_BITS = 8;
// A byte to send has this bit beside it if its stop bit is to be missing.
constexpr uint16_t NO_STOP = 1 << DATA_BITS;

struct Bench {
    VerilatedContext context;
    Vlinked_top top{&context};
    const uint32_t divisor;  // clocks of a bit
    uint64_t clock = 0;

    // To the device: the bits left of a byte, lowest first, and clocks left of the lowest.
    uint32_t sending = 0, send_bits = 0, send_clocks = 0;
    // From the device: bits read, and clocks to the middle of the next.
    uint32_t taken = 0, take_bits = 0, take_clocks = 0;
    bool taking = false;

    explicit Bench(uint32_t divisor) : divisor{divisor} {
        top.rx = 1;
        reset(2);
    }

    void tick() {
        top.clk = 0;
        top.eval();
        top.clk = 1;
        top.eval();
        ++clock;
    }

    void reset(int clocks) {
        top.rst = 1;
        for (int i = 0; i < clocks; ++i) tick();
        top.rst = 0;
    }

    // Drive rx; whether a byte is on its way.
    bool send() {
        if (!send_bits) return false;
        top.rx = sending & 1;
        if (--send_clocks == 0) {
            sending >>= 1;
            send_clocks = divisor;
            --send_bits;
        }
        return true;
    }

    void start(uint16_t byte) {
        // Start bit, data, stop bit, and without it a bit to recover.
        const bool broken = byte & NO_STOP;
        sending = (byte & 0xFF) << 1 | (broken ? 0b10u : 0b1u) << (DATA_BITS + 1);
        send_bits = DATA_BITS + (broken ? 3 : 2);
        send_clocks = divisor;
    }

    // Watch tx; the byte that is whole now, or -1.
    int take() {
        if (!taking) {
            if (top.tx) return -1;
            taking = true;
            taken = take_bits = 0;
            take_clocks = divisor / 2;
        }
        if (take_clocks--) return -1;
        take_clocks = divisor - 1;
        taken |= static_cast<uint32_t>(top.tx) << take_bits++;
        if (take_bits < DATA_BITS + 2) return -1;
        taking = false;
        return (taken >> (DATA_BITS + 1) & 1) && !(taken & 1) ? static_cast<int>(taken >> 1 & 0xFF) : -1;
    }
};

}  // namespace

extern "C" {

Bench* linked_new(uint32_t divisor) { return new Bench{divisor}; }
void linked_delete(Bench* bench) { delete bench; }
uint64_t linked_clock(const Bench* bench) { return bench->clock; }
void linked_reset(Bench* bench) { bench->reset(2); }

// Up to `clocks` clocks; ends before them when nothing was on the wires for `quiet` clocks. Takes bytes from `in` and
// puts those that come into `out`, which holds one for each 10 bits of `clocks` and one more. Returns the clocks passed.
uint64_t linked_run(
    Bench* bench, const uint16_t* in, uint64_t in_count, uint64_t* in_taken, uint8_t* out, uint64_t* out_count,
    uint64_t clocks, uint64_t quiet
) {
    const uint64_t begin = bench->clock;
    uint64_t still = 0;
    *in_taken = *out_count = 0;
    while (bench->clock - begin < clocks && still < quiet) {
        if (!bench->send_bits && *in_taken < in_count) bench->start(in[(*in_taken)++]);
        const bool sending = bench->send();
        bench->tick();
        const int byte = bench->take();
        if (byte >= 0) out[(*out_count)++] = static_cast<uint8_t>(byte);
        still = sending || bench->taking ? 0 : still + 1;
    }
    return bench->clock - begin;
}

}  // extern "C"

// The clock loop of the Verilated core, compiled beside pyverilator's wrapper: a whole test set in one call.
// Inputs change while the clock is low, transfers are read just before it rises.

#include "Vtop.h"
#include "verilated_vcd_c.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

std::string trace_error;  // why the VCD could not be written

struct Random {  // xorshift64*
    uint64_t state;
    bool chance(uint32_t of_65536) {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        return ((state * 0x2545F4914F6CDD1DULL) >> 48) < of_65536;
    }
};

// The slot of one population in monitor data, whatever type Verilator gives that width.
inline uint32_t slot(uint32_t data, uint32_t) { return data; }
inline uint32_t slot(uint64_t data, uint32_t p) { return static_cast<uint32_t>(data >> (32 * p)); }
template <std::size_t N>
uint32_t slot(const VlWide<N>& data, uint32_t p) { return data[p]; }

// Nothing may come in this time after all that is expected.
constexpr int QUIET_CLOCKS = 64;

// pyverilator dumps twice by itself, at 5 and 10, when it opens the file.
constexpr uint64_t TRACE_START = 20;

struct Bench {
    Vtop* top;
    VerilatedVcdC* trace;
    uint64_t clock;

    void settle() {
        top->aclk = 0;
        top->eval();
        if (trace) trace->dump(TRACE_START + 10 * clock);
    }
    void rise() {
        top->aclk = 1;
        top->eval();
        if (trace) trace->dump(TRACE_START + 10 * clock + 5);
        ++clock;
    }
};

}  // namespace

// Verilator calls this for what it cannot go on with. A VCD that cannot be written, on a full disk, is closed instead.
void vl_fatal(const char* file, int line, const char*, const char* message) VL_MT_UNSAFE {
    if (std::strncmp(message, "VerilatedVcd", 12) == 0) {
        trace_error = message;
        return;
    }
    std::fprintf(stderr, "%s:%d: %s\n", file, line, message);
    std::abort();
}

extern "C" {

// Why the VCD could not be written; empty if it could.
const char* firstspike_trace_error() { return trace_error.c_str(); }

struct Stream {
    const uint32_t* words;      // of all frames
    const uint8_t* last;        // 1 at the last word of a frame
    uint64_t word_count;
    uint32_t stall_in, stall_out, stall_monitor;  // chance of a pause a clock, in 1/65536
    uint64_t seed;
    uint32_t one_at_a_time;     // the next frame waits for the result of the one before
    uint64_t patience;          // clocks without any transfer after which to give up

    uint64_t clock;             // running clock count, in and out
    uint32_t* results;
    uint64_t result_capacity, result_count;
    uint64_t* started;          // clock of the first word of each frame
    uint64_t* finished;         // clock of the last word of each record
    uint64_t record_capacity, record_count, frame_count;
    uint32_t* events;           // monitor words
    uint64_t event_capacity, event_count;
    uint64_t records_wanted, finals_wanted, finals_count;
    uint32_t populations;
    const uint32_t* final_words;  // step field and mark of each population's final watermark
    uint32_t final_mask;
    volatile uint32_t stop;     // set by another thread: give up
};

// 0: all words went in, all records and final watermarks came, and nothing else. 1: patience ran out.
// 2: a buffer is full. 3: extra output. 4: told to stop. 5: the VCD cannot be written.
int firstspike_stream(Vtop* top, VerilatedVcdC* trace, Stream* s) {
    Bench bench{top, trace, s->clock};
    Random random{s->seed * 2654435761u + 88172645463325252ULL};
    uint64_t next = 0, quiet = 0;
    bool first = true, offered = false, record_open = false;
    int status = 0;
    while (s->record_count < s->records_wanted || s->finals_count < s->finals_wanted || next < s->word_count) {
        const bool wait = s->one_at_a_time && first && s->record_count < s->frame_count;
        if (!offered) offered = next < s->word_count && !wait && !random.chance(s->stall_in);
        top->s_axis_tvalid = offered;
        // While not valid the payload is noise, so that a core that looks at it is found out.
        top->s_axis_tdata = offered ? s->words[next] : static_cast<uint32_t>(random.state);
        top->s_axis_tlast = offered ? s->last[next] : static_cast<uint32_t>(random.state >> 40) & 1;
        top->m_axis_tready = !random.chance(s->stall_out);
        const bool monitor_ready = !random.chance(s->stall_monitor);
#ifdef FIRSTSPIKE_MONITOR
        top->m_axis_monitor_tready = monitor_ready;
#endif
        bench.settle();
        bool moved = false;
        if (top->s_axis_tvalid && top->s_axis_tready) {
            if (first) s->started[s->frame_count++] = bench.clock;
            first = s->last[next++];
            offered = false;
            moved = true;
        }
        if (top->m_axis_tvalid && top->m_axis_tready) {
            if (s->result_count == s->result_capacity) { status = 2; break; }
            s->results[s->result_count++] = top->m_axis_tdata;
            record_open = !top->m_axis_tlast;
            if (!record_open) {
                if (s->record_count == s->record_capacity) { status = 3; break; }
                s->finished[s->record_count++] = bench.clock;
            }
            moved = true;
        }
#ifdef FIRSTSPIKE_MONITOR
        if (top->m_axis_monitor_tvalid && monitor_ready) {
            for (uint32_t p = 0; p < s->populations; ++p) {
                if (!(top->m_axis_monitor_tkeep >> (4 * p) & 1)) continue;
                if (s->event_count == s->event_capacity) { status = 2; break; }
                const uint32_t word = slot(top->m_axis_monitor_tdata, p);
                s->events[s->event_count++] = word;
                if ((word & s->final_mask) == s->final_words[p]) ++s->finals_count;
            }
            if (status) break;
            moved = true;
        }
#endif
        bench.rise();
        if (s->stop) { status = 4; break; }
        if (!trace_error.empty()) { status = 5; break; }
        quiet = moved ? 0 : quiet + 1;
        if (quiet > s->patience) { status = 1; break; }
    }
    top->s_axis_tvalid = 0;
    top->m_axis_tready = 1;
#ifdef FIRSTSPIKE_MONITOR
    top->m_axis_monitor_tready = 1;
#endif
    for (int i = 0; i < QUIET_CLOCKS && !status; ++i) {
        bench.settle();
        if (top->m_axis_tvalid) status = 3;
#ifdef FIRSTSPIKE_MONITOR
        if (top->m_axis_monitor_tvalid) status = 3;
#endif
        bench.rise();
    }
    s->clock = bench.clock;
    return status;
}

// Clocks with all streams idle.
uint64_t firstspike_idle(Vtop* top, VerilatedVcdC* trace, uint64_t clock, uint64_t count) {
    Bench bench{top, trace, clock};
    while (count--) {
        bench.settle();
        bench.rise();
    }
    return bench.clock;
}

// One AXI4-Lite transfer; data is written, or read into. Returns the response, or -1 without an answer in 64 clocks.
int firstspike_lite(Vtop* top, VerilatedVcdC* trace, uint64_t* clock, int write, uint32_t address, uint32_t* data) {
    Bench bench{top, trace, *clock};
    int response = -1;
    bool address_sent = false, data_sent = false;
    for (int i = 0; i < 64 && response < 0; ++i) {
        top->s_axil_awvalid = write && !address_sent;
        top->s_axil_wvalid = write && !data_sent;
        top->s_axil_arvalid = !write && !address_sent;
        top->s_axil_awaddr = top->s_axil_araddr = address;
        top->s_axil_wdata = write ? *data : 0;
        top->s_axil_wstrb = 15;
        top->s_axil_bready = top->s_axil_rready = 1;
        bench.settle();
        if (write) {
            if (top->s_axil_awready) address_sent = true;
            if (top->s_axil_wready) data_sent = true;
            if (top->s_axil_bvalid) response = top->s_axil_bresp;
        } else {
            if (top->s_axil_arready) address_sent = true;
            if (top->s_axil_rvalid) {
                response = top->s_axil_rresp;
                *data = top->s_axil_rdata;
            }
        }
        bench.rise();
    }
    top->s_axil_awvalid = top->s_axil_wvalid = top->s_axil_arvalid = 0;
    *clock = bench.clock;
    return response;
}

}  // extern "C"

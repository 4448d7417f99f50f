// Small designs before and after synthesis, side by side, over random inputs. Prints for each slot of the output in how
// many clocks it differs, and in how many it changes at all. CLOCKS, SLOTS and SLOT_BITS are defined outside.
module bench(input clk);
    reg [31:0] clocks = 0, page = 0;
    reg [255:0] x = 0;
    wire [`SLOTS * `SLOT_BITS - 1:0] expected, actual;
    reg [`SLOTS * `SLOT_BITS - 1:0] last = 0;
    reg [31:0] differs [0:`SLOTS - 1], changes [0:`SLOTS - 1];
    cells source(.clk(clk), .rst(1'b0), .x(x), .o(expected));
    cells_netlist netlist(.clk(clk), .rst(1'b0), .x(x), .o(actual));

    // Both addresses stay near each other for a while, so that they meet often.
    always @(negedge clk) begin
        if (clocks[4:0] == 0) page <= $urandom;
        x <= {$urandom, $urandom, $urandom, $urandom, $urandom, $urandom, page ^ ($urandom & 3), page ^ ($urandom & 3)};
    end

    integer i;
    initial for (i = 0; i < `SLOTS; i = i + 1) {differs[i], changes[i]} = 0;
    always @(posedge clk) begin
        clocks <= clocks + 1;
        last <= expected;
        // Before the first read its output is not defined.
        for (i = 0; i < `SLOTS; i = i + 1) begin
            if (clocks > 1 && expected[i * `SLOT_BITS +: `SLOT_BITS] != actual[i * `SLOT_BITS +: `SLOT_BITS])
                differs[i] <= differs[i] + 1;
            if (expected[i * `SLOT_BITS +: `SLOT_BITS] != last[i * `SLOT_BITS +: `SLOT_BITS])
                changes[i] <= changes[i] + 1;
        end
        if (clocks == `CLOCKS) begin
            for (i = 0; i < `SLOTS; i = i + 1) $display("slot %0d differs %0d changes %0d", i, differs[i], changes[i]);
            $finish;
        end
    end
endmodule

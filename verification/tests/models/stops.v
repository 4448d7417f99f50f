// Cells in what their models do not describe: one case for each number behind +case=, and none for 0.
module bench(input clk);
    integer number = 0, clocks = 0;
    initial if (!$value$plusargs("case=%d", number)) $fatal(1, "no case");
    wire on = clocks > 2;
    always @(posedge clk) begin
        clocks <= clocks + 1;
        if (clocks == 9) $finish;
    end
    // Byte enables are the lowest address bits.
    DP16KD #(.DATA_WIDTH_A(18), .DATA_WIDTH_B(18)) narrow(
        .CLKA(clk), .CEA(1'b1), .WEA(on), .ADA0(1'b1), .RSTA(on && number == 1), .CSA1(on && number == 2),
        .CLKB(number == 3 ? ~clk : clk), .CEB(1'b1), .WEB(on && number == 4), .ADB0(1'b1), .RSTB(on && number == 5),
        .CSB0(on && number == 6)
    );
    DP16KD #(.DATA_WIDTH_A(9), .DATA_WIDTH_B(36)) wide(
        .CLKA(clk), .CLKB(clk), .CEB(1'b1), .WEB(on && number == 7)
    );
    MULT18X18D product(.SOURCEA(number == 8), .SOURCEB(on && number == 9));
endmodule

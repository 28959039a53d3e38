// Says that a token was wrong, which is all that the address tells.

if (location.search === "?wrong") document.querySelector("#wrong").textContent = "That is not the token.";

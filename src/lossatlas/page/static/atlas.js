/* placeholder: replaced by the built bundle */
"use strict";(()=>{const s=JSON.parse(document.getElementById("scene").textContent);window.atlas={ready:true,state:{},scene:s};})();
